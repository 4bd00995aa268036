#include "kernels/cuda/architectures.h"

#include <charconv>

namespace seq1f1b::kernels::cuda {

int kernel_architecture(std::string_view built, int major, int minor) {
  const int device = major * 10 + minor;
  int best = 0;
  while (!built.empty()) {
    const std::string_view entry = built.substr(0, built.find(','));
    built.remove_prefix(entry.size() < built.size() ? entry.size() + 1 : built.size());
    int version = 0;
    const auto parsed = std::from_chars(entry.data(), entry.data() + entry.size(), version);
    if (parsed.ec != std::errc{} || version < 80) continue;
    const std::string_view rest = entry.substr(static_cast<std::size_t>(parsed.ptr - entry.data()));
    const bool own_features = rest.starts_with("a");
    const bool machine_code = rest.ends_with("-real");
    const bool runs = own_features   ? version == device
                      : machine_code ? version / 10 == major && version <= device
                                     : version <= device;
    if (runs) best = own_features && version == 90 ? 90 : best == 90 ? 90 : 80;
  }
  return best;
}

}  // namespace seq1f1b::kernels::cuda

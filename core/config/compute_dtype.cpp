#include "core/config/compute_dtype.h"

#include <array>

#include "kernels/common/errors.h"

namespace seq1f1b::config {

std::span<const std::string> compute_dtypes(const std::string& device) {
  static const std::array<std::string, 2> any{"fp32", "bf16"};
  static const std::array<std::string, 1> cpu{"fp32"};
  static const std::array<std::string, 3> reference{"fp64", "fp32", "bf16"};
  static const std::array<std::string, 2> cuda{"bf16", "fp32"};
  if (device == "auto") return any;
  if (device == "cpu") return cpu;
  if (device == "reference") return reference;
  if (device == "cuda") return cuda;
  return {};
}

std::string compute_dtype(const RuntimeConfig& runtime) {
  if (runtime.compute_dtype != "auto") return runtime.compute_dtype;
  const auto dtypes = compute_dtypes(runtime.device);
  SEQ1F1B_ASSERT(!dtypes.empty(), "no device ", runtime.device);
  return dtypes.front();
}

}  // namespace seq1f1b::config

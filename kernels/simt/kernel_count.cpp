#include "kernels/simt/kernel_count.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <set>
#include <string>

#include "kernels/common/errors.h"

namespace seq1f1b::simt {
namespace {

constinit KernelCount* first = nullptr;

// In one piece, as several programs may share the file.
void write_counts() {
  const char* const path = std::getenv("SEQ1F1B_SIMT_KERNELS");
  if (!path || !*path) return;
  std::string lines;
  std::set<std::string_view> names;
  for (const KernelCount* count = first; count; count = count->next) {
    lines += concat(count->runs.load(), "\t", count->name, "\n");
    if (names.insert(count->name).second) continue;
    // Unnamed namespaces may have it so, and one's runs would hide that the other never ran.
    std::fprintf(stderr, "simt: two kernels are called %s\n", std::string(count->name).c_str());
    std::_Exit(1);
  }
  const int file = open(path, O_WRONLY | O_APPEND | O_CREAT, 0666);
  if (file < 0 || write(file, lines.data(), lines.size()) != static_cast<ssize_t>(lines.size())) {
    std::perror(path);
    std::_Exit(1);
  }
  close(file);
}

}  // namespace

KernelCount::KernelCount(std::string_view pretty) : name(pretty), next(first) {
  constexpr std::string_view kBefore = "kKernel = ";
  if (const auto begin = name.find(kBefore); begin != name.npos) {
    name.remove_prefix(begin + kBefore.size());
    if (name.ends_with(']')) name.remove_suffix(1);
  }
  if (!first) std::atexit(write_counts);
  first = this;
}

}  // namespace seq1f1b::simt

#pragma once
// The kernels that a program can launch, and how often each has run. A program appends them to the
// file that SEQ1F1B_SIMT_KERNELS names when it ends: a line per kernel, runs and name.
#include <atomic>
#include <string_view>

namespace seq1f1b::simt {

struct KernelCount {
  // `pretty` ends with "kKernel = " and the kernel's name in brackets.
  explicit KernelCount(std::string_view pretty);
  std::string_view name;
  std::atomic<long> runs{0};
  KernelCount* next;
};

// Made before main() for every instance that any launch in the program names, whether it is reached
// or not.
template <auto kKernel>
struct CountOf {
  static constexpr const char* pretty() { return __PRETTY_FUNCTION__; }
  inline static KernelCount count{pretty()};
};

}  // namespace seq1f1b::simt

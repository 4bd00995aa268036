#pragma once
// The GPUs that a test executable may use, through the module that lies beside it.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "kernels/cuda/backend.h"

namespace seq1f1b::kernels::testing {

// 0 where there is none, which is said once: the words by which ctest counts a test as skipped.
inline int usable_gpus() {
  static const int count = [] {
    unsetenv("SEQ1F1B_CUDA_MODULE");
    std::string why;
    const int found = cuda::device_count(&why);
    if (!found) std::printf("skipped, no GPU: %s\n", why.c_str());
    return found;
  }();
  return count;
}

}  // namespace seq1f1b::kernels::testing

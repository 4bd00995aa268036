// The CUDA back end on this machine's GPU, through the module as the program loads it: both compute
// types, and once with sums in any order. None where there is no GPU, which is said once.
#include <cstdio>
#include <cstdlib>

#include "kernels/common/errors.h"
#include "kernels/cuda/backend.h"
#include "tests/kernels/back_ends.h"

namespace seq1f1b::kernels::testing {

std::vector<NamedBackend> back_ends_under_test() {
  static const int count = [] {
    unsetenv("SEQ1F1B_CUDA_MODULE");
    std::string why;
    const int found = cuda::device_count(&why);
    if (!found) std::printf("skipped, no GPU: %s\n", why.c_str());
    return found;
  }();
  std::vector<NamedBackend> list;
  if (!count) return list;
  const auto add = [&](Dtype compute, bool deterministic) {
    const cuda::BackendOptions options{.compute = compute, .deterministic = deterministic};
    NamedBackend named;
    named.name = concat("CUDA, ", dtype_name(compute), deterministic ? "" : ", sums in any order");
    named.make = [options] { return cuda::make_cuda_backend(options); };
    named.repeatable = deterministic;
    list.push_back(std::move(named));
  };
  add(Dtype::kF32, true);
  add(Dtype::kBf16, true);
  add(Dtype::kBf16, false);
  return list;
}

}  // namespace seq1f1b::kernels::testing

// The CUDA back end on this machine's GPU, through the module as the program loads it: both compute
// types, and once with sums in any order. None where there is no GPU.
#include "kernels/common/errors.h"
#include "tests/kernels/back_ends.h"
#include "tests/kernels/gpus.h"

namespace seq1f1b::kernels::testing {

std::vector<NamedBackend> back_ends_under_test() {
  std::vector<NamedBackend> list;
  if (!usable_gpus()) return list;
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

// The CUDA back end with cuDNN's attention, on this machine's GPU. For the attention cases without
// documents alone. None where there is no GPU.
#include "tests/kernels/back_ends.h"
#include "tests/kernels/gpus.h"

namespace seq1f1b::kernels::testing {

std::vector<NamedBackend> back_ends_under_test() {
  if (!usable_gpus()) return {};
  const cuda::BackendOptions options{.attention = cuda::AttentionKernels::kCudnn};
  return {{"CUDA, attention by cuDNN", [options] { return cuda::make_cuda_backend(options); }}};
}

}  // namespace seq1f1b::kernels::testing

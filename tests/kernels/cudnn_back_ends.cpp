// The CUDA back end with cuDNN's attention, on this machine's GPU. For the attention cases without
// documents alone.
#include <cstdio>
#include <cstdlib>

#include "kernels/cuda/backend.h"
#include "tests/kernels/back_ends.h"

namespace seq1f1b::kernels::testing {

std::vector<NamedBackend> back_ends_under_test() {
  unsetenv("SEQ1F1B_CUDA_MODULE");
  std::string why;
  if (!cuda::device_count(&why)) {
    std::printf("skipped, no GPU: %s\n", why.c_str());
    return {};
  }
  const cuda::BackendOptions options{.attention = cuda::AttentionKernels::kCudnn};
  return {{"CUDA, attention by cuDNN", [options] { return cuda::make_cuda_backend(options); }}};
}

}  // namespace seq1f1b::kernels::testing

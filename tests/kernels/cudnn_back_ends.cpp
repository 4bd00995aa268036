// The CUDA back end with cuDNN's attention, on this machine's GPU. For the attention cases without
// documents alone. None where there is no GPU, which is said once.
#include <cstdio>
#include <cstdlib>

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
  if (!count) return {};
  const cuda::BackendOptions options{.attention = cuda::AttentionKernels::kCudnn};
  return {{"CUDA, attention by cuDNN", [options] { return cuda::make_cuda_backend(options); }}};
}

}  // namespace seq1f1b::kernels::testing

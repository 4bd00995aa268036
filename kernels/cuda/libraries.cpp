#include "kernels/cuda/libraries.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <nccl.h>

#include "kernels/common/errors.h"
#ifdef SEQ1F1B_HAS_CUDNN
#include "kernels/cuda/attention/cudnn_attention.h"
#endif

namespace seq1f1b::kernels::cuda {
namespace {

std::string cudnn_text() {
#ifdef SEQ1F1B_HAS_CUDNN
  const std::string version = cudnn_version();
  return version.empty() ? "no libcudnn.so.9" : "cuDNN " + version;
#else
  return "built without cuDNN";
#endif
}

}  // namespace

std::string libraries() {
  int runtime = 0, nccl = 0;
  (void)cudaRuntimeGetVersion(&runtime);
  (void)ncclGetVersion(&nccl);
  const auto cublas = cublasLtGetVersion();
  return concat("CUDA ", runtime / 1000, ".", runtime % 1000 / 10, ", cuBLAS ", cublas / 10000, ".",
                cublas % 10000 / 100, ".", cublas % 100, ", ", cudnn_text(), ", NCCL ",
                nccl / 10000, ".", nccl % 10000 / 100, ".", nccl % 100);
}

}  // namespace seq1f1b::kernels::cuda

// Which GPUs of this process can be used.
#include "kernels/cuda/architectures.h"
#include "kernels/cuda/check.h"
#include "kernels/cuda/device.h"

namespace seq1f1b::kernels::cuda {

std::vector<Gpu> usable_gpus(std::string& why) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) {
    (void)cudaGetLastError();
    int runtime = 0;
    (void)cudaRuntimeGetVersion(&runtime);
    why = concat(cudaGetErrorString(error), " (", cudaGetErrorName(error),
                 "): no NVIDIA driver that serves CUDA ", runtime / 1000, ".", runtime % 1000 / 10,
                 ", or no GPU given to this process", hint_of(error));
    return {};
  }
  if (count == 0) why = "the driver finds no GPU, or none is given to this process";
  std::vector<Gpu> gpus;
  for (int index = 0; index < count; ++index) {
    int major = 0, minor = 0;
    check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index),
          "asking for a compute capability");
    check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, index),
          "asking for a compute capability");
    const int architecture = kernel_architecture(SEQ1F1B_CUDA_ARCHITECTURES, major, minor);
    if (architecture)
      gpus.push_back({index, architecture});
    else
      why = concat("GPU ", index, " has compute capability ", major, ".", minor,
                   ", for which this program has no kernels (it was built for ",
                   SEQ1F1B_CUDA_ARCHITECTURES, "; see SEQ1F1B_CUDA_ARCHITECTURES)");
  }
  return gpus;
}

}  // namespace seq1f1b::kernels::cuda

#include "kernels/simt/emulated_backend.h"

#include <cstdlib>

#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/device.h"
#include "kernels/simt/emulated_attention.h"
#include "kernels/simt/runtime.h"

namespace seq1f1b::simt {

using namespace kernels;

Backend make_emulated_backend(const EmulatedOptions& options) {
  setenv("SEQ1F1B_SIMT_ARCH", std::to_string(options.architecture).c_str(), 1);
  auto device =
      std::make_unique<cuda::CudaDevice>(cuda::Gpu{0, options.architecture}, options.graphs);
  cuda::Context context;
  context.stream = device->stream();
  context.multiprocessors = device->multiprocessors();
  context.shared_bytes = device->shared_bytes();
  context.architecture = options.architecture;
  context.deterministic = options.deterministic;
  Backend backend;
  backend.name = "cuda";
  backend.compute = options.compute;
  backend.accumulate = Dtype::kF32;
  backend.device = std::move(device);
  cuda::AttentionSetup attention;
  if (options.attention) attention.library = make_emulated_attention(*options.attention);
  backend.ops = cuda::make_cuda_ops(context, options.compute, std::move(attention));
  return backend;
}

EmulatedMemory emulated_memory() {
  Runtime& runtime = Runtime::get();
  const std::scoped_lock lock(runtime.mutex);
  return {runtime.allocated_bytes, runtime.peak_bytes, runtime.allocations};
}

void reset_emulated_peak() {
  Runtime& runtime = Runtime::get();
  const std::scoped_lock lock(runtime.mutex);
  runtime.peak_bytes = runtime.allocated_bytes;
}

}  // namespace seq1f1b::simt

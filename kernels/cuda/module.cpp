// The one door of the module: everything behind it is reached through the table it returns.
#include "kernels/cuda/module.h"

#include <cstring>
#include <exception>

#include "kernels/common/build_identity.h"
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/libraries.h"
#include "kernels/cuda/nccl_communicator.h"
#ifdef SEQ1F1B_HAS_CUDNN
#include "kernels/cuda/attention/cudnn_attention.h"
#endif

namespace seq1f1b::kernels::cuda {
namespace {

int device_count(std::string& why) {
  try {
    return static_cast<int>(usable_gpus(why).size());
  } catch (const std::exception& error) {
    why = error.what();
    return 0;
  }
}

std::unique_ptr<AttentionLibrary> attention_library(const Context& context) {
#ifdef SEQ1F1B_HAS_CUDNN
  return make_cudnn_attention(context);
#else
  (void)context;
  throw ConfigError(
      "attention by cuDNN: this program was built without it (scripts/setup.sh --cudnn-frontend)");
#endif
}

// Whoever leaves the choice to the program does not miss a library that is not there.
AttentionSetup attention_setup(const BackendOptions& options, const Context& context) {
  AttentionSetup setup;
  if (options.attention == AttentionKernels::kOwn) return setup;
  try {
    setup.library = attention_library(context);
  } catch (const ConfigError& error) {
    if (options.attention == AttentionKernels::kCudnn) throw;
    setup.refusal = error.what();
  }
  if (options.attention == AttentionKernels::kCudnn) setup.standard = AttentionProvider::kLibrary;
  return setup;
}

Backend new_backend(const BackendOptions& options) {
  std::string why;
  const std::vector<Gpu> gpus = usable_gpus(why);
  if (gpus.empty()) throw ConfigError(why);
  SEQ1F1B_ASSERT(options.local_rank >= 0, "local rank ", options.local_rank);
  const Gpu& gpu = gpus[static_cast<std::size_t>(options.local_rank) % gpus.size()];
  auto device = std::make_unique<CudaDevice>(gpu, options.graphs);
  Context context;
  context.stream = device->stream();
  context.multiprocessors = device->multiprocessors();
  context.shared_bytes = device->shared_bytes();
  context.architecture = device->architecture();
  context.deterministic = options.deterministic;
  Backend backend;
  backend.name = "cuda";
  backend.compute = options.compute;
  backend.accumulate = Dtype::kF32;
  backend.ops = make_cuda_ops(context, options.compute, attention_setup(options, context),
                              [own = device.get()] { return own->other_bytes(); });
  backend.device = std::move(device);
  return backend;
}

std::unique_ptr<Backend> make_backend(const BackendOptions& options, std::string& error) {
  try {
    return std::make_unique<Backend>(new_backend(options));
  } catch (const std::exception& fault) {
    error = fault.what();
    return nullptr;
  }
}

DeviceIdentity identity(const Device& device) { return cuda_device(device).identity(); }

constexpr Module kModule{device_count,         make_backend,      identity,
                         make_communicator_id, make_communicator, libraries};

}  // namespace

extern "C" __attribute__((visibility("default"))) const Module* seq1f1b_cuda_module(
    int abi, const char* build, const char** refusal) {
  static const std::string message =
      concat("it is of another build, [", build_identity(), "] with interface ", kModuleAbi,
             "; build and install both together");
  if (abi == kModuleAbi && std::strcmp(build, build_identity()) == 0) return &kModule;
  *refusal = message.c_str();
  return nullptr;
}

}  // namespace seq1f1b::kernels::cuda

#include "kernels/cuda/backend.h"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>

#include "kernels/common/build_identity.h"
#include "kernels/common/errors.h"

namespace seq1f1b::kernels::cuda {
namespace {

const char* named_module() {
  const char* const named = std::getenv("SEQ1F1B_CUDA_MODULE");
  return named && *named ? named : nullptr;
}

std::string module_path() {
  if (const char* const named = named_module()) return named;
  std::error_code error;
  const auto self = std::filesystem::canonical("/proc/self/exe", error);
  return error ? kModuleFile : (self.parent_path() / kModuleFile).string();
}

// The CUDA runtime looks for the driver under this name. Looking first spares machines without a
// GPU the module's libraries: half a second and hundreds of megabytes per rank.
bool driver_is_there() { return dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL) != nullptr; }

}  // namespace

// The library stays loaded for the life of the process: objects made by it may be the last to go.
const Module* load_module_file(const std::string& path, int abi, const char* build,
                               std::string& why) {
  std::error_code error;
  // dlopen would look for a bare name in the system's folders, and says less about a missing file.
  if (!std::filesystem::exists(path, error)) {
    why = concat("there is no ", path);
    return nullptr;
  }
  void* const library = dlopen(std::filesystem::absolute(path).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    why = concat("the CUDA module does not load: ", dlerror());
    return nullptr;
  }
  const auto function = reinterpret_cast<ModuleFunction>(dlsym(library, kModuleFunction));
  const char* refusal = "it gives no reason";
  const Module* const module = function ? function(abi, build, &refusal) : nullptr;
  if (module) return module;
  why = function ? concat(path, " refuses this program: ", refusal)
                 : concat(path, " is no CUDA module of seq1f1b: it has no ", kModuleFunction);
  dlclose(library);
  return nullptr;
}

void ask_for_work_queues() { setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 1); }

const Module* load_module(std::string* why) {
  ask_for_work_queues();
  struct Loaded {
    std::string why;
    const Module* module = load_module_file(module_path(), kModuleAbi, build_identity(), why);
    Loaded() {
      if (module) return;
      if (named_module())
        why += "; correct or unset SEQ1F1B_CUDA_MODULE, which names it";
      else if (std::error_code error; !std::filesystem::exists(module_path(), error))
        why +=
            ": this program was built without CUDA (cmake -DSEQ1F1B_CUDA=ON), or moved without its "
            "module";
    }
  };
  static const Loaded loaded;
  if (why) *why = loaded.why;
  return loaded.module;
}

int device_count(std::string* why) {
  std::string reason;
  int count = 0;
  if (!named_module() && !driver_is_there()) {
    reason = "no NVIDIA driver on this machine (libcuda.so.1)";
  } else if (const Module* const module = load_module(&reason)) {
    count = module->device_count(reason);
  }
  if (why) *why = count ? "" : reason;
  return count;
}

Backend make_cuda_backend(const BackendOptions& options) {
  constexpr const char* kHint =
      "; try runtime.device=cpu, or `nvidia-smi` to see what the driver finds";
  std::string reason;
  if (device_count(&reason) == 0) throw ConfigError(concat("no GPU can be used: ", reason, kHint));
  std::unique_ptr<Backend> backend = load_module()->make_backend(options, reason);
  // What a library lacks is no affair of the driver's.
  const bool library =
      options.attention == AttentionKernels::kCudnn && reason.find("cuDNN") != std::string::npos;
  if (!backend)
    throw ConfigError(concat("the GPU back end did not start: ", reason,
                             library ? "; runtime.attention=own needs no cuDNN, auto takes it "
                                       "where it can be had"
                                     : kHint));
  return std::move(*backend);
}

}  // namespace seq1f1b::kernels::cuda

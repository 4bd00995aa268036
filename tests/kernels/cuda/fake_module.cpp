// A module whose device is the reference back end's and whose errors are real ones. What it does is
// steered by BackendOptions::local_rank.
#include <cstring>

#include "kernels/common/build_identity.h"
#include "kernels/cuda/module.h"
#include "kernels/ops.h"

namespace seq1f1b::kernels::cuda {
namespace {

struct ThrowingDevice final : Device {
  std::string description() const override { throw ConfigError("thrown inside the module"); }
  std::size_t memory_bytes() const override { throw InternalError("also inside"); }
  void* allocate(std::size_t) override { throw Error(kExitMismatch, "with a code"); }
  void release(void*, std::size_t) noexcept override {}
  void* allocate_host(std::size_t) override { throw std::bad_alloc(); }
  void release_host(void*, std::size_t) noexcept override {}
  void upload(void*, const void*, std::size_t) override {}
  void download(void*, const void*, std::size_t) override {}
  void download_later(void*, const void*, std::size_t) override {}
  void copy(void*, const void*, std::size_t) override {}
  void synchronize() override {}
  std::unique_ptr<Event> make_event() override { return nullptr; }
  void record(Event&) override {}
  void wait(Event&) override {}
  void stamp(int) override {}
  double seconds_between(int, int) override { return 0; }
};

int device_count(std::string&) { return 2; }

std::unique_ptr<Backend> make_backend(const BackendOptions& options, std::string& error) {
  if (options.local_rank < 0) {
    error = "a negative rank";
    return nullptr;
  }
  auto backend = std::make_unique<Backend>(make_reference_backend(Dtype::kF64));
  backend->name = "fake";
  if (options.local_rank == 1) backend->device = std::make_unique<ThrowingDevice>();
  return backend;
}

DeviceIdentity identity(const Device&) { return {"0000:00:00.0"}; }
bool make_communicator_id(CommunicatorId&, std::string& error) {
  error = "none here";
  return false;
}
std::unique_ptr<Communicator> make_communicator(Device&, const CommunicatorOptions&,
                                                std::string& error) {
  error = "none here";
  return nullptr;
}
std::string libraries() { return "none"; }

constexpr Module kModule{device_count,         make_backend,      identity,
                         make_communicator_id, make_communicator, libraries};

}  // namespace

extern "C" __attribute__((visibility("default"))) const Module* seq1f1b_cuda_module(
    int abi, const char* build, const char** refusal) {
  *refusal = "of another build";
  return abi == kModuleAbi && std::strcmp(build, build_identity()) == 0 ? &kModule : nullptr;
}

}  // namespace seq1f1b::kernels::cuda

// Before the first step a rank waits for its device alone: no peer and no schedule says for how
// long.
#include <condition_variable>
#include <mutex>

#include "core/runtime/rank_runtime.h"
#include "tests/catch.h"
#include "tests/support/forwarding_device.h"
#include "tests/support/harness.h"

namespace seq1f1b::testing {
namespace {

// Never comes to the end of its queue, until somebody has been told so.
class StuckDevice final : public ForwardingDevice {
 public:
  using ForwardingDevice::ForwardingDevice;
  bool is_host() const override { return false; }
  void synchronize() override {
    std::unique_lock lock(mutex_);
    told_.wait_for(lock, std::chrono::seconds(30), [&] { return !message_.empty(); });
  }
  void tell(const std::string& message) {
    const std::lock_guard lock(mutex_);
    message_ = message;
    told_.notify_all();
  }
  std::string message() {
    const std::lock_guard lock(mutex_);
    return message_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable told_;
  std::string message_;
};

}  // namespace

TEST_CASE("a device that hangs while warming up is noticed within the deadline", "[runtime]") {
  config::Config config = tiny_config("gpt3");
  config.parallel.pipeline_model_parallel_size = 1;
  plan::JobPlan job = plan_with(config);
  job.precision = {kernels::Dtype::kF32, kernels::Dtype::kF32};
  kernels::Backend backend = make_backend(On::kCpu);
  auto stuck = std::make_unique<StuckDevice>(std::move(backend.device));
  StuckDevice& device = *stuck;
  backend.device = std::move(stuck);

  comm::WorldOptions options;
  options.deadline = std::chrono::duration<double>(0.2);
  options.on_deadline = [&](const std::string& message) { device.tell(message); };
  const auto worlds = comm::make_in_process_worlds(1, options);
  const auto fabric = comm::make_staged_fabric(*worlds[0], device);
  const runtime::RankRuntime rank(job, backend, *fabric);
  INFO(device.message());
  CHECK(device.message().find("made no progress for 0.2 s while warming up") != std::string::npos);
}

}  // namespace seq1f1b::testing

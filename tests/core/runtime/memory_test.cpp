// The plan against what really happens: touched bytes, device allocations, large mallocs.
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>

#include "core/parameters/initialise.h"
#include "core/plan/knobs.h"
#include "core/train/step.h"
#include "tests/catch.h"
#include "tests/support/forwarding_device.h"
#include "tests/support/harness.h"
#include "tests/support/large_mallocs.h"

namespace seq1f1b::testing {
namespace {

config::Config larger_config(const std::string& family) {
  config::Config config = tiny_config(family);
  config.model.hidden_size = 64;
  config.model.kv_channels = 16;
  config.model.ffn_hidden_size = 160;
  config.model.vocab_size = 500;
  config.training.seq_length = 256;
  if (family == "gpt3") config.model.max_position_embeddings = 256;
  config.schedule.name = "seq1f1b";
  config.schedule.segments = 4;
  config.schedule.partition = "flops";
  config.parallel.pipeline_model_parallel_size = 4;
  return config;
}

class CountingDevice final : public ForwardingDevice {
 public:
  CountingDevice(std::unique_ptr<kernels::Device> inner, std::atomic<int>& allocations)
      : ForwardingDevice(std::move(inner)), allocations_(allocations) {}
  void* allocate(std::size_t bytes) override {
    ++allocations_;
    return ForwardingDevice::allocate(bytes);
  }
  void* allocate_host(std::size_t bytes) override {
    ++allocations_;
    return ForwardingDevice::allocate_host(bytes);
  }

 private:
  std::atomic<int>& allocations_;
};

}  // namespace

TEST_CASE("a step touches what was planned, and nothing more", "[runtime][memory]") {
  for (const std::string family : {"gpt3", "llama"})
    for (const char* schedule : {"seq1f1b", "terapipe"}) {
      config::Config config = larger_config(family);
      config.schedule.name = schedule;
      // bf16 through the slow reference for one of the schedules.
      const On on = std::string(schedule) == "seq1f1b" ? On::kReferenceBf16 : On::kCpu;
      const plan::JobPlan job = plan_with(config);
      std::mutex mutex;
      run_job(job, on, [&](RankContext& context) {
        parameters::initialise(context.runtime.store(), 1, *context.backend.device,
                               *context.backend.ops);
        constexpr unsigned char kPoison = 0xA5;
        const auto arena = context.runtime.activation_arena();
        std::memset(arena.data(), kPoison, arena.size());
        train::Step step(context.job, context.runtime, context.fabric);
        step.run(random_samples(config, 1, 1), 1, 1e-3);

        constexpr std::size_t kLine = 64;
        std::size_t touched = 0, highest = 0;
        for (std::size_t line = 0; line < arena.size() / kLine; ++line)
          for (std::size_t i = 0; i < kLine; ++i)
            if (arena[line * kLine + i] != std::byte{kPoison}) {
              touched += kLine;
              highest = (line + 1) * kLine;
              break;
            }
        const auto& plan = context.runtime.plan();
        const std::lock_guard lock(mutex);
        INFO(family << " " << schedule << " rank " << context.rank << ": planned "
                    << plan.training.packed_bytes() << ", live " << plan.training.live_bytes()
                    << ", touched " << touched << ", highest " << highest);
        CHECK(plan.training.packed_bytes() <=
              1.12 * static_cast<double>(plan.training.live_bytes()));
        CHECK(highest <= plan.training.packed_bytes());
        CHECK(static_cast<double>(highest) >=
              0.99 * static_cast<double>(plan.training.packed_bytes()));
        // Holes of the packing are never touched; tensors are padded to 256 bytes.
        CHECK(static_cast<double>(touched) >=
              0.97 * static_cast<double>(plan.training.live_bytes()));
      });
    }
}

TEST_CASE("a plan that does not fit is refused with the knobs that make it fit", "[runtime]") {
  config::Config config = larger_config("llama");
  config.schedule.name = "1f1b";
  config.schedule.segments = 1;
  config.training.micro_batch_size = 2;
  config.training.global_batch_size = 16;
  const plan::JobPlan job = plan_with(config);
  const std::size_t needed = plan::fullest_rank_bytes(job);
  CHECK_NOTHROW(plan::require_fits(job, 0, needed, {needed}));
  CHECK_NOTHROW(plan::require_fits(job, 0, needed, {2 * needed, 2}));
  CHECK_NOTHROW(plan::require_fits(job, 0, needed, {}));
  const auto knobs = plan::cheapest_knobs(job, needed - 1);
  REQUIRE(knobs.size() >= 2);
  for (const auto& knob : knobs) CHECK(knob.needed_bytes < needed);
  CHECK(knobs[0].setting == "schedule.name=seq1f1b schedule.segments=4");
  CHECK(knobs[1].setting == "training.micro_batch_size=1");
  const auto refusal = [&](plan::MemoryShare share) -> std::string {
    try {
      plan::require_fits(job, 3, needed, share);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "";
  };
  const auto says = [](const std::string& text, const std::string& part) {
    INFO(text);
    CHECK(text.find(part) != std::string::npos);
  };
  const std::string close = refusal({needed - 1});
  says(close, "rank 3 needs ");
  says(close, "but its device has ");
  says(close, "training.micro_batch_size=1 would need ");
  CHECK(close.find("still too much") == std::string::npos);
  const std::string far = refusal({1800, 2});
  says(far, "2 ranks share their device, which has for each 900 B");
  says(far, "iB, still too much");
}

TEST_CASE("after the first step nothing large is allocated", "[runtime][memory]") {
  const config::Config config = larger_config("llama");
  const plan::JobPlan job = plan_with(config);
  std::atomic<int> device_allocations = 0;
  const auto count_allocations = [&](kernels::Backend& backend, int) {
    backend.device =
        std::make_unique<CountingDevice>(std::move(backend.device), device_allocations);
  };
  const auto body = [&](RankContext& context) {
    parameters::initialise(context.runtime.store(), 1, *context.backend.device,
                           *context.backend.ops);
    train::Step step(context.job, context.runtime, context.fabric);
    const auto samples = random_samples(config, 1, 1);
    step.run(samples, 1, 1e-3);
    context.runtime.evaluate_pass(samples, 1);
    context.all.barrier([] { return "end of the first step"; });
    if (context.rank == 0) start_counting_large_mallocs();
    const int before = device_allocations;
    context.all.barrier([] { return "counting"; });
    for (int number = 2; number <= 4; ++number) {
      step.run(samples, number, 1e-3);
      context.runtime.evaluate_pass(samples, number);
    }
    context.all.barrier([] { return "end"; });
    if (context.rank == 0) {  // checks are not for several threads at once
      CHECK(device_allocations == before);
      const LargeMallocs found = stop_counting_large_mallocs();
      INFO("largest " << found.largest << " bytes");
      CHECK(found.count == 0);
    }
  };
  run_job(job, On::kCpu, body, 1, count_allocations);
}

TEST_CASE("the counter of large mallocs sees one", "[runtime][memory]") {
  if (!counting_large_mallocs_works()) return;  // under a sanitizer, which owns malloc
  start_counting_large_mallocs();
  void* volatile pointer = std::malloc(100 * 1024);
  const LargeMallocs found = stop_counting_large_mallocs();
  std::free(pointer);
  CHECK(found.count == 1);
  CHECK(found.largest == 100 * 1024);
}

}  // namespace seq1f1b::testing

// Training on a device that records an action once and replays the record: the same bits, as few
// records as the plan says, and nothing in a record that changes from one replay to the next.
#include <map>
#include <mutex>

#include "core/parameters/initialise.h"
#include "core/plan/graph_estimate.h"
#include "tests/catch.h"
#include "tests/core/schedule/hand_made.h"
#include "tests/support/forwarding_device.h"
#include "tests/support/harness.h"
#include "tests/support/replaying.h"

namespace seq1f1b::testing {
namespace {

config::Config repeating_config(const std::string& family, const char* name, int segments) {
  config::Config config = tiny_config(family);
  config.training.global_batch_size = 10;
  config.schedule.name = name;
  config.schedule.segments = segments;
  config.schedule.partition = "flops";
  config.parallel.pipeline_model_parallel_size = 3;
  return config;
}

// One log per rank.
struct Logs {
  explicit Logs(int ranks) {
    for (int rank = 0; rank < ranks; ++rank) of.push_back(std::make_shared<ReplayLog>());
  }
  Prepare prepare() const {
    return [this](kernels::Backend& backend, int rank) {
      make_replaying(backend, of[static_cast<std::size_t>(rank)]);
    };
  }
  std::vector<std::shared_ptr<ReplayLog>> of;
};

void check_same(const plan::JobPlan& job, On on) {
  const int ranks = job.training.spec.ranks;
  const Logs logs(ranks);
  const Outcome plain = train(job, on, 3);
  const Outcome replayed = train(job, on, 3, 1, logs.prepare());
  CHECK(plain.losses == replayed.losses);
  CHECK(plain.norms == replayed.norms);
  CHECK(plain.parameters == replayed.parameters);
  CHECK(plain.gradients == replayed.gradients);
  plan::JobPlan typed = job;  // as the harness computes
  const auto accumulate = on == On::kReference ? kernels::Dtype::kF64 : kernels::Dtype::kF32;
  typed.precision = {accumulate, accumulate};
  for (int rank = 0; rank < ranks; ++rank) {
    const ReplayLog& log = *logs.of[static_cast<std::size_t>(rank)];
    INFO("rank " << rank);
    CHECK(log.complaints == std::vector<std::string>{});
    const auto plan = plan::plan_rank(typed, rank);
    CHECK(log.records == plan.training.graphs());
    const auto actions = job.training.orders[static_cast<std::size_t>(rank)].size();
    CHECK(static_cast<std::size_t>(log.records + log.replays) == 3 * actions);
  }
}

}  // namespace

TEST_CASE("replayed actions give the bits of issued ones", "[runtime][replay]") {
  for (const std::string family : {"gpt3", "llama"})
    for (const int segments : {1, 3}) {
      INFO(family << ", " << segments << " segments");
      check_same(plan_with(repeating_config(family, "seq1f1b", segments)), On::kReference);
    }
  SECTION("on the processor's operations") {
    check_same(plan_with(repeating_config("llama", "seq1f1b", 3)), On::kCpu);
  }
  SECTION("where all micro-batches are alive at once") {
    check_same(plan_with(repeating_config("gpt3", "terapipe", 2)), On::kReference);
  }
  SECTION("with a backward in two parts") {
    check_same(
        plan_with(repeating_config("gpt3", "seq1f1b", 2),
                  [](plan::JobPlan& job) { job.training = schedule::zero_bubble(3, 10, 2); }),
        On::kReference);
  }
}

// Memory of its own, as the program sees it.
class ApartDevice final : public ForwardingDevice {
 public:
  using ForwardingDevice::ForwardingDevice;
  bool is_host() const override { return false; }
};

TEST_CASE("a device of its own has done everything once before the first message is expected",
          "[runtime][replay]") {
  for (const char* name : {"seq1f1b", "terapipe"}) {
    const plan::JobPlan job = plan_with(repeating_config("gpt3", name, 3));
    const int ranks = job.training.spec.ranks;
    const Logs logs(ranks);
    const Outcome plain = train(job, On::kReference, 3);
    Outcome warm;
    std::mutex mutex;
    run_job(
        job, On::kReference,
        [&](RankContext& context) {
          const ReplayLog& log = *logs.of[static_cast<std::size_t>(context.rank)];
          const auto& plan = context.runtime.plan();
          const int before = log.records;
          {
            const std::lock_guard lock(mutex);
            CHECK(before == plan.training.graphs() + plan.evaluation.graphs());
            CHECK(log.replays == 0);
          }
          run_steps(context, 3, warm);
          const std::lock_guard lock(mutex);
          CHECK(log.records == before);
          CHECK(log.complaints == std::vector<std::string>{});
        },
        1,
        [&](kernels::Backend& backend, int rank) {
          backend.device = std::make_unique<ApartDevice>(std::move(backend.device));
          logs.prepare()(backend, rank);
        });
    CHECK(warm.losses == plain.losses);
    CHECK(warm.norms == plain.norms);
  }
}

TEST_CASE("training and evaluation keep records of their own", "[runtime][replay]") {
  const config::Config config = repeating_config("gpt3", "seq1f1b", 3);
  const plan::JobPlan job = plan_with(config);
  const Logs logs(3);
  std::mutex mutex;
  double plain = 0, replayed = 0;
  const auto losses_into = [&](double& sum) {
    return [&](RankContext& context) {
      parameters::initialise(context.runtime.store(), 1, *context.backend.device,
                             *context.backend.ops);
      for (int step = 1; step <= 2; ++step) {
        const auto samples = random_samples(config, 3, step);
        context.runtime.train_pass(samples, step, context.job.derived.tokens_per_step);
        const double loss = context.runtime.evaluate_pass(samples, step).loss_sum;
        const std::lock_guard lock(mutex);
        sum += loss;
      }
      const auto& plan = context.runtime.plan();
      const std::size_t kept = context.backend.device->graphs().count;
      if (kept == 0) return;
      const std::lock_guard lock(mutex);
      CHECK(kept == static_cast<std::size_t>(plan.training.graphs() + plan.evaluation.graphs()));
      // What the plan estimates: an operation is one kernel or a few.
      const std::size_t launches =
          plan::estimated_graph_bytes(context.job, context.rank, plan.training, plan.evaluation) /
          plan::kBytesPerLaunch;
      const std::size_t calls = logs.of[static_cast<std::size_t>(context.rank)]->recorded_calls;
      INFO("rank " << context.rank << ": " << calls << " calls, " << launches << " launches");
      CHECK(launches >= calls);
      CHECK(launches <= 2 * calls);
    };
  };
  run_job(job, On::kReference, losses_into(plain));
  run_job(job, On::kReference, losses_into(replayed), 1, logs.prepare());
  CHECK(plain > 0);
  CHECK(plain == replayed);
  for (const auto& log : logs.of) CHECK(log->complaints == std::vector<std::string>{});
}

TEST_CASE("between the first action and the last nothing waits and nothing is made",
          "[runtime][replay]") {
  const config::Config config = repeating_config("llama", "seq1f1b", 3);
  const plan::JobPlan job = plan_with(config);
  const Logs logs(3);
  run_job(
      job, On::kReference,
      [&](RankContext& context) {
        ReplayLog& log = *logs.of[static_cast<std::size_t>(context.rank)];
        parameters::initialise(context.runtime.store(), 1, *context.backend.device,
                               *context.backend.ops);
        const auto samples = random_samples(config, 1, 1);
        log.tracing = true;
        context.runtime.train_pass(samples, 1, context.job.derived.tokens_per_step);
        log.tracing = false;
      },
      1, logs.prepare());
  for (std::size_t rank = 0; rank < 3; ++rank) {
    const std::vector<std::string>& trace = logs.of[rank]->trace;
    const auto first = std::ranges::find(trace, "stamp");
    std::map<std::string, int> counts;
    for (auto call = first; call != trace.end(); ++call) ++counts[*call];
    INFO("rank " << rank);
    const int actions = static_cast<int>(job.training.orders[rank].size());
    std::map<std::string, int> expected{
        {"record", actions}, {"replay", actions}, {"stamp", 2 * actions + 2}};
    // Tokens on the first rank, labels on the last, of every unit.
    if (rank != 1) expected["copy"] = actions;
    CHECK(counts == expected);
  }
}

TEST_CASE("the test's device complains of records that change", "[replay]") {
  kernels::Backend backend = kernels::make_reference_backend(kernels::Dtype::kF32);
  const auto log = std::make_shared<ReplayLog>();
  make_replaying(backend, log);
  std::vector<float> memory(8);
  const auto fill = [&](float* where, double value) {
    backend.ops->fill(kernels::Tensor(where, kernels::Dtype::kF32, {4}), value);
  };
  backend.device->replay(1, [&] { fill(memory.data(), 1); });
  CHECK(memory == std::vector<float>{1, 1, 1, 1, 0, 0, 0, 0});
  memory.assign(8, 0);
  backend.device->replay(1, [&] { fill(memory.data(), 1); });
  CHECK(memory == std::vector<float>{1, 1, 1, 1, 0, 0, 0, 0});  // by the record
  CHECK(log->complaints.empty());
  backend.device->replay(1, [&] { fill(memory.data() + 4, 1); });
  CHECK(memory == std::vector<float>{1, 1, 1, 1, 0, 0, 0, 0});  // not what was issued
  CHECK(log->complaints.size() == 1);
  backend.device->replay(1, [&] {});
  CHECK(log->complaints.size() == 2);
  backend.device->replay(2, [&] { backend.device->synchronize(); });
  CHECK(log->complaints.size() >= 3);
}

}  // namespace seq1f1b::testing

// What a step reports beside its gradients, and what it leaves alone.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <mutex>

#include "core/parameters/initialise.h"
#include "core/train/step.h"
#include "tests/catch.h"
#include "tests/support/harness.h"

namespace seq1f1b::testing {
namespace {

config::Config four_ranks() {
  config::Config config = tiny_config("llama");
  config.schedule = {.name = "seq1f1b", .segments = 2, .partition = "even", .segment_lengths = {}};
  config.parallel.pipeline_model_parallel_size = 4;
  return config;
}

}  // namespace

// The last rank is done long before the first: its idle end belongs to the bubble.
TEST_CASE("the measured bubble is 1 - busy / (ranks * makespan)", "[step]") {
  const config::Config config = four_ranks();
  std::mutex mutex;
  double busy = 0, makespan = 0, earliest_end = std::numeric_limits<double>::infinity();
  std::vector<double> bubbles;
  run_job(plan_with(config), On::kReference, [&](RankContext& context) {
    parameters::initialise(context.runtime.store(), 1, *context.backend.device,
                           *context.backend.ops);
    train::Step step(context.job, context.runtime, context.fabric);
    step.run(random_samples(config, 1, 1), 1, 1e-3);
    const train::StepResult result = step.run(random_samples(config, 1, 2), 2, 1e-3);
    const std::lock_guard lock(mutex);
    const runtime::StageLoop& loop = context.runtime.training_loop();
    for (const auto& times : loop.times()) busy += times.end - times.begin;
    const double end = loop.total_seconds();
    makespan = std::max(makespan, end);
    earliest_end = std::min(earliest_end, end);
    bubbles.push_back(result.bubble);
  });
  REQUIRE(bubbles.size() == 4);
  REQUIRE(earliest_end < makespan);
  for (const double bubble : bubbles)
    CHECK(bubble == Approx(1 - busy / (4 * makespan)).epsilon(1e-12));
}

// Padding is no label: neither the loss nor its gradients may be divided by it.
TEST_CASE("the loss of a step is the mean over its labels, before the update", "[step]") {
  const config::Config config = four_ranks();
  const int padding = GENERATE(0, 5);
  run_job(plan_with(config), On::kReference, [&](RankContext& context) {
    parameters::initialise(context.runtime.store(), 1, *context.backend.device,
                           *context.backend.ops);
    std::vector<std::int32_t> samples = random_samples(config, 1, 1);
    std::fill(samples.end() - padding, samples.end(), -1);
    std::array<double, 1> sum{context.runtime.evaluate_pass(samples, 1).loss_sum};
    context.all.all_reduce_sum(sum, [] { return std::string("adding up the loss"); });
    train::Step step(context.job, context.runtime, context.fabric);
    const double loss = step.run(samples, 1, 1e-3).loss;
    if (std::abs(loss - sum[0] / (4 * 23 - padding)) > 1e-12 * loss)
      throw std::runtime_error(concat("loss ", loss, ", sum ", sum[0]));
  });
}

TEST_CASE("a step whose loss is not finite changes no parameter", "[step]") {
  const config::Config config = four_ranks();
  std::mutex mutex;
  int changed = 0, refused = 0, bad = 0;
  run_job(plan_with(config), On::kReference, [&](RankContext& context) {
    const auto& store = context.runtime.store();
    parameters::initialise(store, 1, *context.backend.device, *context.backend.ops);
    // On the last rank alone, so that the others learn of it by the reduction.
    const auto row = store.layout().rows().front();
    const kernels::Tensor weight = store.weight(row);
    auto* values = weight.as<double>();
    if (context.rank == 3) values[0] = std::numeric_limits<double>::quiet_NaN();
    const auto count = static_cast<std::size_t>(weight.elements());
    const std::vector<double> before(values, values + count);
    train::Step step(context.job, context.runtime, context.fabric);
    const train::StepResult result = step.run(random_samples(config, 1, 1), 1, 1e-3);
    const std::lock_guard lock(mutex);
    refused += result.finite ? 0 : 1;
    for (std::size_t i = 0; i < count; ++i) {
      if (std::isnan(before[i])) ++bad;
      if (!std::isnan(before[i]) && values[i] != before[i]) ++changed;
    }
  });
  CHECK(bad == 1);
  CHECK(refused == 4);
  CHECK(changed == 0);
}

}  // namespace seq1f1b::testing

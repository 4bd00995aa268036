// The whole model's hand-written backward against finite differences of its forward, and the split
// backward against the unsplit one.
#include <algorithm>
#include <cmath>

#include "core/parameters/initialise.h"
#include "kernels/common/philox.h"
#include "tests/catch.h"
#include "tests/support/harness.h"

namespace seq1f1b::testing {
TEST_CASE("gradients are the slope of the loss, in every tensor", "[model]") {
  for (const std::string family : {"gpt3", "llama"})
    for (const bool tied : {false, true}) {
      config::Config config = tiny_config(family);
      config.model.num_layers = 2;
      config.model.init_method_std = 0.3;  // away from the linear regime
      config.model.tie_embeddings = tied ? "true" : "false";
      config.training.micro_batch_size = 2;
      config.schedule = {
          .name = "seq1f1b", .segments = 3, .partition = "lengths", .segment_lengths = {11, 5, 7}};
      run_job(plan_with(config), On::kReference, [&](RankContext& context) {
        auto& runtime = context.runtime;
        parameters::initialise(runtime.store(), 3, *context.backend.device, *context.backend.ops);
        const auto samples = random_samples(config, 5, 1);
        runtime.train_pass(samples, 1, context.job.derived.tokens_per_step);
        runtime.exchange_tied_gradients(1);
        const auto tokens = static_cast<double>(context.job.derived.tokens_per_step);
        for (const auto& row : runtime.store().layout().rows()) {
          double* weight = runtime.store().weight(row).as<double>();
          const double* gradient = runtime.store().gradient(row).as<double>();
          const std::int64_t count = row.info.elements();
          double largest = 0;
          for (std::int64_t i = 0; i < count; ++i)
            largest = std::max(largest, std::abs(gradient[i]));
          for (std::uint64_t draw = 0; draw < 3; ++draw) {
            const auto i =
                kernels::philox(draw, row.table_index)[0] % static_cast<std::uint64_t>(count);
            const double saved = weight[i], h = 1e-5;
            const auto loss = [&](double value) {
              weight[i] = value;
              return runtime.evaluate_pass(samples, 1).loss_sum / tokens;
            };
            const double slope = (loss(saved + h) - loss(saved - h)) / (2 * h);
            weight[i] = saved;
            INFO(family << " tied " << tied << " " << row.info.name << "[" << i << "]: slope "
                        << slope << ", gradient " << gradient[i]);
            CHECK(std::abs(slope - gradient[i]) <= 1e-7 * largest + 1e-9);
          }
        }
      });
    }
}

TEST_CASE("a split backward gives the same bits", "[model]") {
  for (const std::string family : {"gpt3", "llama"})
    for (int ranks : {1, 2, 4}) {
      config::Config config = tiny_config(family);
      config.schedule = {
          .name = "seq1f1b", .segments = 3, .partition = "even", .segment_lengths = {}};
      config.parallel.pipeline_model_parallel_size = ranks;
      const Outcome a = train(plan_with(config), On::kReference, 2);
      config.schedule.name = "seq1f1b-zb";
      const Outcome b = train(plan_with(config), On::kReference, 2);
      INFO(family << " on " << ranks << " ranks");
      CHECK(a.parameters == b.parameters);
      CHECK(a.gradients == b.gradients);
    }
}

}  // namespace seq1f1b::testing

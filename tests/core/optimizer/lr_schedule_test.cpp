#include "core/optimizer/lr_schedule.h"

#include "kernels/common/errors.h"
#include "tests/catch.h"

using seq1f1b::optimizer::learning_rate;

namespace {

seq1f1b::config::OptimizerConfig options(const char* style, std::int64_t warmup,
                                         std::int64_t decay) {
  seq1f1b::config::OptimizerConfig config;
  config.lr = 1.0;
  config.min_lr = 0.1;
  config.lr_decay_style = style;
  config.lr_warmup_iters = warmup;
  config.lr_decay_iters = decay;
  return config;
}

}  // namespace

TEST_CASE("Warm-up is linear and reaches lr at its last step") {
  for (const char* style : {"cosine", "linear", "constant"}) {
    const auto config = options(style, 4, 20);
    CHECK(learning_rate(config, 1, 100) == 0.25);
    CHECK(learning_rate(config, 3, 100) == 0.75);
    CHECK(learning_rate(config, 4, 100) == 1.0);
  }
}

TEST_CASE("Decay is at its middle half-way and at min_lr from lr_decay_iters on") {
  const auto cosine = options("cosine", 4, 20), linear = options("linear", 4, 20);
  CHECK(learning_rate(cosine, 12, 100) == Approx(0.55));
  CHECK(learning_rate(linear, 12, 100) == Approx(0.55));
  CHECK(learning_rate(cosine, 8, 100) ==
        Approx(0.1 + 0.9 * 0.8535533905932737));  // (1+cos(pi/4))/2
  CHECK(learning_rate(linear, 8, 100) == Approx(0.775));
  for (const std::int64_t step : {20, 21, 1000}) {
    CHECK(learning_rate(cosine, step, 100) == 0.1);
    CHECK(learning_rate(linear, step, 100) == 0.1);
  }
  double previous = learning_rate(cosine, 4, 100);
  for (std::int64_t step = 5; step <= 20; ++step) {
    CHECK(learning_rate(cosine, step, 100) < previous);
    previous = learning_rate(cosine, step, 100);
  }
}

TEST_CASE("The edges: no warm-up, no decay length, a constant rate, a warm-up beyond the decay") {
  CHECK(learning_rate(options("linear", 0, 0), 50, 100) == Approx(0.55));
  CHECK(learning_rate(options("linear", 0, 0), 100, 100) == 0.1);
  CHECK(learning_rate(options("cosine", 0, 1), 1, 1) == 0.1);
  CHECK(learning_rate(options("cosine", 0, 1), 1, 100) == 0.1);
  CHECK(learning_rate(options("constant", 0, 10), 1, 100) == 1.0);
  CHECK(learning_rate(options("constant", 0, 10), 99, 100) == 1.0);
  const auto late = options("cosine", 10, 5);
  CHECK(learning_rate(late, 7, 100) == 0.7);
  CHECK(learning_rate(late, 10, 100) == 1.0);
  CHECK(learning_rate(late, 11, 100) == 0.1);
  CHECK_THROWS_AS(learning_rate(late, 0, 100), seq1f1b::InternalError);
}

// What the optimizer decides before the operation runs: whom the decay applies to, clipping, the
// norm.
#include <cmath>
#include <cstdlib>
#include <memory>

#include "core/optimizer/optimizer.h"
#include "tests/catch.h"
#include "tests/support/harness.h"

namespace seq1f1b::testing {
namespace {

// All parameters of a tiny model in fp64: weights 2, gradients 3, moments 0.
class Fixture {
 public:
  explicit Fixture(const config::OptimizerConfig& config)
      : backend(make_backend(On::kReference)), layout_(every_row()) {
    const auto f64 = kernels::Dtype::kF64;
    const auto training = parameters::Purpose::kTraining;
    memory_ = kernels::DeviceBuffer(*backend.device,
                                    parameters::store_bytes(layout_, f64, f64, training).total());
    scratch_ = kernels::DeviceBuffer(*backend.device, optimizer::Optimizer::scratch_bytes(layout_));
    store = std::make_unique<parameters::Store>(layout_, f64, f64, training, memory_.data());
    optimizer = std::make_unique<optimizer::Optimizer>(config, *store, backend, scratch_.data());
    backend.ops->fill(store->all_gradients(), 3);
    backend.ops->fill(store->all_moments(), 0);
    for (const auto& row : layout_.rows()) backend.ops->fill(store->weight(row), 2);
  }
  std::int64_t parameters() const {
    std::int64_t count = 0;
    for (const auto& row : layout_.rows()) count += row.row.elements();
    return count;
  }

  kernels::Backend backend;
  std::unique_ptr<parameters::Store> store;
  std::unique_ptr<optimizer::Optimizer> optimizer;

 private:
  static parameters::Layout every_row() {
    return {model::parameter_table(model::model_spec(tiny_config("gpt3").model)),
            [](const parameters::Use&) { return true; }};
  }
  parameters::Layout layout_;
  kernels::DeviceBuffer memory_, scratch_;
};

}  // namespace

TEST_CASE("weights decay, norms and biases do not", "[optimizer]") {
  config::OptimizerConfig config;
  config.adam_eps = 0;
  config.clip_grad = 0;
  config.weight_decay = 0.5;
  Fixture fixture(config);
  fixture.optimizer->update(1, 0.01, 1.0);
  int decayed = 0, others = 0;
  for (const auto& row : fixture.store->layout().rows()) {
    INFO(row.row.name);
    const bool decays = row.row.shape.size() == 2;
    ++(decays ? decayed : others);
    // The first step of Adam is lr * sign(gradient).
    const double expected = 2 - 0.01 * (1 + (decays ? 0.5 * 2 : 0));
    CHECK(fixture.store->weight(row).as<double>()[0] == Approx(expected).epsilon(1e-12));
  }
  CHECK(decayed == 2 + 4 * 6);
  CHECK(others == 2 + 4 * (2 * 2 + 6));
}

TEST_CASE("gradients above the norm are scaled down to it, others are left alone", "[optimizer]") {
  config::OptimizerConfig config;
  config.clip_grad = 1.5;
  for (const double norm : {1.0, 1.5, 6.0}) {
    Fixture fixture(config);
    fixture.optimizer->update(1, 0.01, norm);
    const double gradient = norm > 1.5 ? 3 * 1.5 / norm : 3;
    const auto& row = fixture.store->layout().rows().front();
    CHECK(fixture.store->first_moment(row).as<double>()[0] ==
          Approx((1 - config.adam_beta1) * gradient).epsilon(1e-12));
    CHECK(fixture.store->second_moment(row).as<double>()[0] ==
          Approx((1 - config.adam_beta2) * gradient * gradient).epsilon(1e-12));
  }
}

TEST_CASE("moments are corrected by the number of the step", "[optimizer]") {
  config::OptimizerConfig config;
  config.adam_eps = 0;
  config.weight_decay = config.clip_grad = 0;
  Fixture fixture(config);
  // A constant gradient: the corrected moments are g and g^2 at every step.
  for (int step = 1; step <= 3; ++step) fixture.optimizer->update(step, 0.01, 1.0);
  const auto& row = fixture.store->layout().rows().front();
  CHECK(fixture.store->weight(row).as<double>()[0] == Approx(2 - 3 * 0.01).epsilon(1e-12));
}

TEST_CASE("the norm counts every parameter once, a tied one too", "[optimizer]") {
  Fixture fixture({});
  std::vector<double> squares(fixture.store->layout().rows().size());
  fixture.optimizer->squares(squares);
  CHECK(optimizer::Optimizer::global_norm(squares) ==
        Approx(3 * std::sqrt(static_cast<double>(fixture.parameters()))).epsilon(1e-12));
  // Uses are added up into the one that is counted.
  fixture.optimizer->sum_local_uses();
  fixture.optimizer->squares(squares);
  const auto& tied = fixture.store->layout().find("embedding.token.weight");
  CHECK(squares[tied.table_index] ==
        Approx(36.0 * static_cast<double>(tied.row.elements())).epsilon(1e-12));
}

}  // namespace seq1f1b::testing

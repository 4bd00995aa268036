// What the optimizer decides before the operation runs, whom the decay applies to and what counts
// in the norm; and what the end of a step leaves behind.
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "core/optimizer/optimizer.h"
#include "kernels/common/bf16.h"
#include "tests/catch.h"
#include "tests/support/harness.h"

namespace seq1f1b::testing {
namespace {

// All parameters of a tiny model: weights 2, gradients 3, moments 0.
class Fixture {
 public:
  // `replica`: of as many as there are shards, which updates its shard; else the whole.
  explicit Fixture(const config::OptimizerConfig& config, On on = On::kReference,
                   const parameters::Replica& replica = {}, int shards = 1)
      : backend(make_backend(on)), layout_(every_row(shards)) {
    const auto training = parameters::Purpose::kTraining;
    const parameters::Range updated =
        replica.count == 1 ? layout_.whole() : layout_.shard(replica.index);
    memory = kernels::DeviceBuffer(
        *backend.device,
        parameters::store_bytes(layout_, backend.compute, backend.accumulate, training, updated)
            .total());
    const optimizer::StepSums sums{.tensors = layout_.rows().size(), .others = 2};
    scratch_ = kernels::DeviceBuffer(*backend.device, optimizer::Optimizer::scratch_bytes(sums));
    store = std::make_unique<parameters::Store>(layout_, backend.compute, backend.accumulate,
                                                training, memory.data(), updated);
    optimizer = std::make_unique<optimizer::Optimizer>(config, *store, sums, backend,
                                                       scratch_.data(), replica);
    std::memset(memory.data(), 0, memory.bytes());  // what lies between the tensors, too
    backend.ops->fill(store->all_gradients(), 3);
    for (const auto& row : layout_.rows()) backend.ops->fill(store->weight(row), 2);
    for (const auto& piece : layout_.pieces(updated)) backend.ops->fill(store->parameter(piece), 2);
  }
  std::int64_t parameters() const {
    std::int64_t count = 0;
    for (const auto& row : layout_.rows()) count += row.info.elements();
    return count;
  }
  double norm() const { return 3 * std::sqrt(static_cast<double>(parameters())); }
  void step(int number, double learning_rate, double loss = 1) {
    optimizer->begin_step(number, learning_rate, &loss, std::vector<double>{4, 5});
    optimizer->finish_step();
    REQUIRE(optimizer->finished().done());
  }
  const parameters::LocalParameter& row(const char* name) const {
    return store->layout().find(name);
  }
  std::vector<std::byte> contents() const {
    return {memory.data(), memory.data() + memory.bytes()};
  }

  kernels::Backend backend;
  kernels::DeviceBuffer memory;
  std::unique_ptr<parameters::Store> store;
  std::unique_ptr<optimizer::Optimizer> optimizer;

 private:
  static parameters::Layout every_row(int shards) {
    return {model::parameter_table(model::model_spec(tiny_config("gpt3").model)),
            [](const parameters::Use&) { return true; }, shards};
  }
  parameters::Layout layout_;
  kernels::DeviceBuffer scratch_;
};

}  // namespace

TEST_CASE("weights decay, norms and biases do not", "[optimizer]") {
  config::OptimizerConfig config;
  config.adam_eps = 0;
  config.clip_grad = 0;
  config.weight_decay = 0.5;
  Fixture fixture(config);
  fixture.step(1, 0.01);
  int decayed = 0, others = 0;
  for (const auto& row : fixture.store->layout().rows()) {
    INFO(row.info.name);
    const bool decays = row.info.shape.size() == 2;
    ++(decays ? decayed : others);
    // The first step of Adam is lr * sign(gradient).
    const double expected = 2 - 0.01 * (1 + (decays ? 0.5 * 2 : 0));
    CHECK(fixture.store->weight(row).as<double>()[0] == Approx(expected).epsilon(1e-12));
  }
  CHECK(decayed == 2 + 4 * 6);
  CHECK(others == 2 + 4 * (2 * 2 + 6));
}

TEST_CASE("gradients above the norm are scaled down to it, others are left alone", "[optimizer]") {
  for (const double share : {0.0, 0.25, 1.0, 2.0}) {
    config::OptimizerConfig config;
    config.clip_grad = share * Fixture(config).norm();
    Fixture fixture(config);
    fixture.step(1, 0.01);
    const double gradient = share == 0.25 ? 3 * share : 3;  // 0: no clipping
    const auto& row = fixture.store->layout().rows().front();
    CHECK(fixture.optimizer->outcome().gradient_norm == Approx(fixture.norm()).epsilon(1e-12));
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
  for (int step = 1; step <= 3; ++step) fixture.step(step, 0.01);
  const auto& row = fixture.store->layout().rows().front();
  CHECK(fixture.store->weight(row).as<double>()[0] == Approx(2 - 3 * 0.01).epsilon(1e-12));
}

TEST_CASE("the norm counts every parameter once, a tied one too", "[optimizer]") {
  Fixture fixture({});
  const auto square_of = [&](const parameters::LocalParameter& row) {
    return fixture.optimizer->sums().as<double>()[row.table_index];
  };
  fixture.step(1, 0.01);
  CHECK(fixture.optimizer->outcome().gradient_norm == Approx(fixture.norm()).epsilon(1e-12));
  // Uses are added up into the one that is counted.
  fixture.optimizer->sum_local_uses();
  fixture.step(2, 0.01);
  const auto& tied = fixture.row("embedding.token.weight");
  const auto& other = fixture.row("layers.0.ffn.up.weight");
  CHECK(square_of(tied) == Approx(36.0 * static_cast<double>(tied.info.elements())).epsilon(1e-12));
  CHECK(square_of(other) ==
        Approx(9.0 * static_cast<double>(other.info.elements())).epsilon(1e-12));
}

TEST_CASE("shards that are updated apart are together the update of the whole", "[optimizer]") {
  for (const On on : {On::kReferenceBf16, On::kCpu}) {
    constexpr int kShards = 3;
    Fixture whole({}, on, {0, 1}, kShards);
    std::vector<std::unique_ptr<Fixture>> shards;
    for (int index = 0; index < kShards; ++index)
      shards.push_back(std::make_unique<Fixture>(config::OptimizerConfig{}, on,
                                                 parameters::Replica{index, kShards}, kShards));
    const auto same = [](const kernels::Tensor& a, const kernels::Tensor& b) {
      return a.bytes() == b.bytes() && std::memcmp(a.data, b.data, a.bytes()) == 0;
    };
    for (int number = 1; number <= 2; ++number) {
      whole.step(number, 0.01);
      std::vector<double> sums;
      for (auto& shard : shards) {
        const double loss = 1.0 / kShards;
        shard->optimizer->begin_step(number, 0.01, &loss, std::vector<double>{4, 5});
        const kernels::Tensor mine = shard->optimizer->sums();
        sums.resize(static_cast<std::size_t>(mine.elements()));
        for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += mine.as<double>()[i];
      }
      for (auto& shard : shards) {
        std::ranges::copy(sums, shard->optimizer->sums().as<double>());
        shard->optimizer->finish_step();
        CHECK(shard->optimizer->outcome().gradient_norm ==
              Approx(whole.optimizer->outcome().gradient_norm).epsilon(1e-12));
      }
    }
    for (auto& shard : shards) {
      const auto& store = *shard->store;
      for (const auto& piece : store.layout().pieces(store.updated())) {
        CHECK(same(store.weight(piece), whole.store->weight(piece)));
        CHECK(same(store.parameter(piece), whole.store->parameter(piece)));
        CHECK(same(store.first_moment(piece), whole.store->first_moment(piece)));
        CHECK(same(store.second_moment(piece), whole.store->second_moment(piece)));
      }
    }
  }
}

TEST_CASE("the scratch holds the sums and the constants of a step", "[optimizer]") {
  CHECK(optimizer::Optimizer::scratch_bytes({.tensors = 7, .others = 2}) ==
        (7 + 1 + 2) * sizeof(double) + sizeof(kernels::AdamWParams));
}

TEST_CASE("loss and other sums come back with the norm, every step anew", "[optimizer]") {
  Fixture fixture({});
  for (int number = 1; number <= 2; ++number) {
    const double loss = 0.5 * number;
    fixture.step(number, 0.01, loss);
    CHECK(fixture.optimizer->outcome().loss_sum == loss);
    CHECK(fixture.optimizer->outcome().apply == 1);
    CHECK(fixture.optimizer->others()[0] == 4);
    CHECK(fixture.optimizer->others()[1] == 5);
  }
  // A rank without the head adds no loss, not the one before.
  fixture.optimizer->begin_step(3, 0.01, nullptr, std::vector<double>{0, 0});
  CHECK(fixture.optimizer->sums().as<double>()[fixture.store->layout().rows().size()] == 0);
}

TEST_CASE("a norm or a loss that is not finite leaves everything as it was", "[optimizer]") {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (On on : {On::kReferenceBf16, On::kReferenceFloat, On::kCpu})
    for (bool bad_loss : {false, true}) {
      Fixture fixture({}, on);
      fixture.step(1, 0.01);
      const auto& row = fixture.row("layers.2.ffn.down.weight");
      float& gradient = fixture.store->gradient(row).as<float>()[5];
      if (!bad_loss) gradient = kInfinity;
      const auto before = fixture.contents();
      fixture.step(2, 0.01, bad_loss ? std::nan("") : 1.0);
      CHECK(fixture.optimizer->outcome().apply == 0);
      CHECK(std::isfinite(fixture.optimizer->outcome().gradient_norm) == bad_loss);
      CHECK(fixture.contents() == before);
      // It is the poison that stopped it.
      gradient = 3;
      fixture.step(2, 0.01);
      CHECK(fixture.optimizer->outcome().apply == 1);
      CHECK(fixture.contents() != before);
    }
}

// Between 1 and 2 a bf16 has steps of 1/128: an update of 0.001 rounds away, four do not.
TEST_CASE("updates smaller than a bf16 can show add up in the master", "[optimizer]") {
  config::OptimizerConfig config;
  config.adam_eps = 0;
  config.weight_decay = config.clip_grad = 0;
  Fixture fixture(config, On::kReferenceBf16);
  const auto& row = fixture.store->layout().rows().front();
  const auto weight = [&] {
    return static_cast<float>(fixture.store->weight(row).as<kernels::Bf16>()[0]);
  };
  const auto master = [&] { return fixture.store->master(row).as<float>()[0]; };
  for (int step = 1; step <= 8; ++step) {
    fixture.step(step, 0.001);
    CHECK(master() == Approx(2 - 0.001 * step).epsilon(1e-6));
    CHECK(weight() == (step < 4 ? 2.0f : 2.0f - 1.0f / 128));
    CHECK(weight() == static_cast<float>(kernels::Bf16(master())));
  }
}

TEST_CASE("whatever is not finite between two steps is named", "[optimizer]") {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  for (const On on : {On::kReference, On::kCpu, On::kReferenceBf16}) {
    Fixture fixture({}, on);
    fixture.step(1, 0.01);
    CHECK(fixture.optimizer->first_not_finite().empty());
    const auto set_last = [&](const kernels::Tensor& tensor, double value) {
      const std::int64_t last = tensor.elements() - 1;
      if (tensor.dtype == kernels::Dtype::kF64)
        tensor.as<double>()[last] = value;
      else
        tensor.as<float>()[last] = static_cast<float>(value);
    };
    for (const auto& row : fixture.store->layout().rows()) {
      const struct {
        const char* suffix;
        kernels::Tensor tensor;
      } parts[] = {{"", fixture.store->parameter(row)},
                   {".exp_avg", fixture.store->first_moment(row)},
                   {".exp_avg_sq", fixture.store->second_moment(row)}};
      for (const auto& part : parts) {
        for (const double value : {kNan, kInfinity, -kInfinity}) {
          set_last(part.tensor, value);
          CHECK(fixture.optimizer->first_not_finite() == row.info.name + part.suffix);
        }
        set_last(part.tensor, on == On::kReference ? -1e150 : -3e38);  // large, but a number
        CHECK(fixture.optimizer->first_not_finite().empty());
      }
    }
    fixture.step(2, 0.01);  // finds its sums as if nothing had been looked at
    CHECK(fixture.optimizer->outcome().gradient_norm == Approx(fixture.norm()).epsilon(1e-6));
  }
}

}  // namespace seq1f1b::testing

#include "core/model/spec.h"

#include <algorithm>
#include <set>

#include "core/parameters/initialise.h"
#include "core/parameters/layout.h"
#include "kernels/common/errors.h"
#include "tests/catch.h"
#include "tests/support/harness.h"

namespace seq1f1b::testing {

TEST_CASE("stages take every block once, in order, the last stages the fewest", "[model]") {
  for (int layers = 1; layers <= 20; ++layers)
    for (int stages = 1; stages <= layers; ++stages) {
      int next = 0;
      for (int stage = 0; stage < stages; ++stage) {
        const auto at = model::stage_layers(layers, stages, stage);
        CHECK(at.first_block == next);
        CHECK(at.blocks >= 1);
        CHECK(at.embedding == (stage == 0));
        CHECK(at.head == (stage == stages - 1));
        next += at.blocks;
      }
      CHECK(next == layers);
    }
}

TEST_CASE("the table of GPT-3 125M has its published size", "[model]") {
  config::Config config = tiny_config("gpt3");
  config.model.num_layers = 12;
  config.model.hidden_size = 768;
  config.model.num_attention_heads = config.model.num_query_groups = 12;
  config.model.kv_channels = 64;
  config.model.ffn_hidden_size = 3072;
  config.model.vocab_size = 50257;
  config.model.max_position_embeddings = 1024;
  std::int64_t parameters = 0;
  std::set<std::string> names;
  for (const auto& row : model::parameter_table(model::model_spec(config.model))) {
    parameters += row.elements();
    names.insert(row.name);
  }
  CHECK(parameters == 124439808);  // GPT-2 small, which has the same shape: 124.4 M
  CHECK(names.count("layers.11.attention.query.weight") == 1);
}

TEST_CASE("fused rows lie without gaps and tied rows have an accumulator per use", "[parameters]") {
  for (const std::string family : {"gpt3", "llama"}) {
    const config::Config config = tiny_config(family);
    const auto spec = model::model_spec(config.model);
    const auto table = model::parameter_table(spec);
    const parameters::Layout layout(table, [](const parameters::Use&) { return true; });
    std::int64_t end = 0;
    for (const auto& row : layout.rows()) {
      CHECK(row.offset >= end);
      if (row.info.fused_with_previous)
        CHECK(row.offset == end);
      else
        CHECK(row.offset % parameters::kRowAlignment == 0);
      CHECK(row.gradient_offsets.size() == row.info.uses.size());
      end = row.offset + row.info.elements();
    }
    CHECK(layout.elements() >= end);
    const std::int64_t second_use = spec.tied ? spec.vocab * spec.hidden : 0;
    CHECK(layout.gradient_elements() >= layout.elements() + second_use);
  }
}

TEST_CASE("initial values depend on seed, name and element alone", "[parameters]") {
  const auto table = model::parameter_table(model::model_spec(tiny_config("llama").model));
  double sum = 0, squares = 0;
  const auto& row = table.front();
  for (std::int64_t i = 0; i < row.elements(); ++i) {
    const double value = parameters::initial_value(row, 1, i) / row.standard_deviation;
    sum += value;
    squares += value * value;
  }
  const auto count = static_cast<double>(row.elements());
  CHECK(std::abs(sum / count) < 4 / std::sqrt(count));
  CHECK(squares / count == Approx(1.0).margin(6 / std::sqrt(count)));
  CHECK(parameters::initial_value(row, 1, 5) != parameters::initial_value(row, 2, 5));
  CHECK(parameters::initial_value(row, 1, 5) != parameters::initial_value(table[1], 1, 5));
  for (const auto& other : table)
    if (other.name.find("norm") != std::string::npos) CHECK_FALSE(other.decay);
}

TEST_CASE("initial values are those that docs/numerics.md gives", "[parameters]") {
  config::ModelConfig config = tiny_config("gpt3").model;
  config.num_layers = 2;
  config.init_method_std = 0.02;
  const auto table = model::parameter_table(model::model_spec(config));
  const auto check = [&](const std::string& name, const std::vector<double>& values) {
    const auto row = std::ranges::find(table, name, &parameters::ParameterInfo::name);
    REQUIRE(row != table.end());
    for (std::size_t i = 0; i < values.size(); ++i)
      CHECK(parameters::initial_value(*row, 1234, static_cast<std::int64_t>(i)) ==
            Approx(values[i]).epsilon(1e-14));
  };
  check("embedding.token.weight",
        {-0.007108990065155778, 0.03393865036361749, 0.009050309538240438});
  check("layers.0.ffn.down.weight",
        {-0.004076014069475792, 0.009658162111483517, 0.006469908283727215});
  check("layers.0.ffn.down.bias", {0, 0});
  check("layers.0.norm1.weight", {1, 1});
}

TEST_CASE("a word that the model does not know is a defect, and never another's default",
          "[model]") {
  for (auto member : {&config::ModelConfig::normalization, &config::ModelConfig::activation,
                      &config::ModelConfig::position_embedding}) {
    config::ModelConfig model = tiny_config("llama").model;
    model.*member = "alibi";
    CHECK_THROWS_AS(model::model_spec(model), InternalError);
  }
}

}  // namespace seq1f1b::testing

// The whole model against one written here as plainly as the papers have it, from named tensors:
// what comparing a layout with another cannot show, such as a label that is not the next token.
#include <cmath>
#include <numbers>
#include <string>
#include <vector>

#include "core/parameters/initialise.h"
#include "tests/catch.h"
#include "tests/support/harness.h"

namespace seq1f1b::testing {
namespace {

using Vector = std::vector<double>;
using Rows = std::vector<Vector>;  // one per token

class PlainModel {
 public:
  PlainModel(const config::ModelConfig& model, const parameters::Store& store)
      : model_(model), store_(store) {}

  // Sum over positions of -log p(next token).
  double loss(const std::int32_t* tokens, int length) const {
    Rows x;
    for (int i = 0; i < length; ++i) {
      x.push_back(row("embedding.token.weight", tokens[i]));
      if (model_.position_embedding == "learned")
        add(x.back(), row("embedding.position.weight", i));
    }
    for (int layer = 0; layer < model_.num_layers; ++layer) {
      const std::string name = "layers." + std::to_string(layer) + ".";
      const Rows mixed = attention(name + "attention.", normed(name + "norm1", x));
      for (std::size_t i = 0; i < x.size(); ++i) add(x[i], mixed[i]);
      const Rows seen = normed(name + "norm2", x);
      for (std::size_t i = 0; i < x.size(); ++i) add(x[i], feed_forward(name + "ffn.", seen[i]));
    }
    double sum = 0;
    const Rows last = normed("final_norm", x);
    for (int i = 0; i < length; ++i) {
      const Vector logits =
          times(model_.tie_embeddings == "true" ? "embedding.token.weight" : "head.weight",
                last[static_cast<std::size_t>(i)]);
      double partition = 0;
      for (const double logit : logits) partition += std::exp(logit);
      sum += std::log(partition) - logits[static_cast<std::size_t>(tokens[i + 1])];
    }
    return sum;
  }

 private:
  kernels::Tensor tensor(const std::string& name) const {
    return store_.weight(store_.layout().find(name));
  }
  Vector row(const std::string& name, int index) const {
    const kernels::Tensor weight = tensor(name);
    const double* first = weight.as<double>() + index * weight.dim(1);
    return {first, first + weight.dim(1)};
  }
  static void add(Vector& sum, const Vector& term) {
    for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += term[i];
  }
  Vector times(const std::string& name, const Vector& input) const {
    Vector output;
    for (int o = 0; o < tensor(name).dim(0); ++o) {
      const Vector weights = row(name, o);
      double sum = 0;
      for (std::size_t i = 0; i < input.size(); ++i) sum += weights[i] * input[i];
      output.push_back(sum);
    }
    return output;
  }
  Vector linear(const std::string& name, const Vector& input) const {
    Vector output = times(name + ".weight", input);
    if (model_.add_bias_linear == "true")
      for (std::size_t i = 0; i < output.size(); ++i)
        output[i] += tensor(name + ".bias").as<double>()[i];
    return output;
  }
  Rows normed(const std::string& name, Rows rows) const {
    const bool centred = model_.normalization == "layernorm";
    for (Vector& x : rows) {
      double mean = 0, square = 0;
      for (const double value : x) mean += centred ? value / static_cast<double>(x.size()) : 0;
      for (const double value : x) square += (value - mean) * (value - mean);
      const double scale =
          1 / std::sqrt(square / static_cast<double>(x.size()) + model_.norm_epsilon);
      for (std::size_t i = 0; i < x.size(); ++i) {
        x[i] = (x[i] - mean) * scale * tensor(name + ".weight").as<double>()[i];
        if (centred) x[i] += tensor(name + ".bias").as<double>()[i];
      }
    }
    return rows;
  }
  // Head `head` of a projection, turned if it is a query or a key: pairs (i, i + d/2), arXiv
  // 2104.09864.
  Vector head_of(const Vector& projected, int head, int position, bool turns) const {
    const int d = model_.kv_channels;
    Vector x(projected.begin() + head * d, projected.begin() + (head + 1) * d);
    if (!turns || model_.position_embedding != "rotary") return x;
    Vector turned(x);
    for (int i = 0; i < d / 2; ++i) {
      const double angle = position * std::pow(model_.rotary_base, -2.0 * i / d);
      const auto a = static_cast<std::size_t>(i), b = static_cast<std::size_t>(i + d / 2);
      turned[a] = x[a] * std::cos(angle) - x[b] * std::sin(angle);
      turned[b] = x[a] * std::sin(angle) + x[b] * std::cos(angle);
    }
    return turned;
  }
  Rows attention(const std::string& name, const Rows& input) const {
    Rows query, key, value, output;
    for (const Vector& x : input) {
      query.push_back(linear(name + "query", x));
      key.push_back(linear(name + "key", x));
      value.push_back(linear(name + "value", x));
    }
    const int group = model_.num_attention_heads / model_.num_query_groups;
    for (int i = 0; i < static_cast<int>(input.size()); ++i) {
      Vector heads;
      for (int head = 0; head < model_.num_attention_heads; ++head) {
        const Vector q = head_of(query[static_cast<std::size_t>(i)], head, i, true);
        Vector sum(q.size(), 0.0);
        double partition = 0;
        for (int j = 0; j <= i; ++j) {
          const Vector k = head_of(key[static_cast<std::size_t>(j)], head / group, j, true);
          const Vector v = head_of(value[static_cast<std::size_t>(j)], head / group, j, false);
          double score = 0;
          for (std::size_t c = 0; c < q.size(); ++c) score += q[c] * k[c];
          const double weight = std::exp(score / std::sqrt(static_cast<double>(q.size())));
          partition += weight;
          for (std::size_t c = 0; c < q.size(); ++c) sum[c] += weight * v[c];
        }
        for (const double value_sum : sum) heads.push_back(value_sum / partition);
      }
      output.push_back(linear(name + "output", heads));
    }
    return output;
  }
  Vector feed_forward(const std::string& name, const Vector& input) const {
    Vector inner = linear(name + "up", input);
    if (model_.activation == "swiglu") {
      const Vector gate = linear(name + "gate", input);
      for (std::size_t i = 0; i < inner.size(); ++i) inner[i] *= gate[i] / (1 + std::exp(-gate[i]));
    } else {
      for (double& x : inner)
        x *= 0.5 * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
    }
    return linear(name + "down", inner);
  }

  const config::ModelConfig& model_;
  const parameters::Store& store_;
};

}  // namespace

TEST_CASE("losses of training and evaluation are those of a plainly written model", "[model]") {
  for (const std::string family : {"gpt3", "llama"})
    for (const bool tied : {false, true}) {
      config::Config config = tiny_config(family);
      config.model.init_method_std = 0.4;  // far from uniform predictions
      config.model.tie_embeddings = tied ? "true" : "false";
      config.training.micro_batch_size = 2;
      config.schedule = {
          .name = "seq1f1b", .segments = 3, .partition = "lengths", .segment_lengths = {9, 1, 13}};
      run_job(plan_with(config), On::kReference, [&](RankContext& context) {
        const auto& store = context.runtime.store();
        parameters::initialise(store, 5, *context.backend.device, *context.backend.ops);
        // Biases begin at zero and norms at one: give all of them something of their own.
        for (const auto& row : store.layout().rows())
          if (row.info.shape.size() == 1)
            for (std::int64_t i = 0; i < row.info.elements(); ++i)
              store.weight(row).as<double>()[i] += 0.1 * std::sin(static_cast<double>(7 * i + 3));
        const auto samples = random_samples(config, 2, 1);
        const int length = static_cast<int>(config.training.seq_length);
        const PlainModel plain(config.model, store);
        double expected = 0;
        for (int sequence = 0; sequence < config.training.global_batch_size; ++sequence)
          expected += plain.loss(samples.data() + sequence * (length + 1), length);
        INFO(family << (tied ? " tied" : " untied"));
        CHECK(context.runtime.evaluate_pass(samples, 1).loss_sum ==
              Approx(expected).epsilon(1e-12));
        context.runtime.train_pass(samples, 1, context.job.derived.tokens_per_step);
        CHECK(*context.runtime.loss_sum() == Approx(expected).epsilon(1e-12));
      });
    }
}

}  // namespace seq1f1b::testing

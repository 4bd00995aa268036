// Every backward of the fp64 reference against central differences of its forward. The loss is the
// inner product of the output with a fixed cotangent, so a wrong factor anywhere shows.
#include <cmath>

#include "tests/catch.h"
#include "tests/kernels/bench.h"

namespace seq1f1b::kernels::testing {
namespace {

using Loss = std::function<double()>;

double inner_product(const Tensor& a, const Tensor& b) {
  double sum = 0;
  for (std::int64_t i = 0; i < a.elements(); ++i) sum += a.as<double>()[i] * b.as<double>()[i];
  return sum;
}

// d loss / d values[i] for every i, against gradient[i] - before[i].
void check_gradient(const std::string& name, const Tensor& values, const Tensor& gradient,
                    const Loss& loss, const std::vector<double>& before = {}) {
  // Truncation h^2 / 6 and rounding 1e-16 / h are both near 1e-11 at losses of order one to ten.
  constexpr double kStep = 1e-5, kTolerance = 2e-8;
  double largest = 0;
  for (std::int64_t i = 0; i < values.elements(); ++i) {
    double& value = values.as<double>()[i];
    const double original = value;
    value = original + kStep;
    const double above = loss();
    value = original - kStep;
    const double below = loss();
    value = original;
    const double expected = (above - below) / (2 * kStep);
    const double start = before.empty() ? 0 : before[static_cast<std::size_t>(i)];
    const double found = gradient.as<double>()[i] - start;
    largest = std::max(largest, std::abs(expected));
    if (!(std::abs(found - expected) <= kTolerance * (1 + std::abs(expected))))
      FAIL_CHECK(name << "[" << i << "] is " << found << ", differences give " << expected);
  }
  INFO(name);
  CHECK(largest > 1e-3);  // else the test would prove nothing
}

// A run on the reference whose tensors may be varied.
class Gradients {
 public:
  Backend backend = make_reference_backend();
  Run run{backend};
  Ops& ops = *backend.ops;

  Tensor varied(Dims dims, double scale = 1, double shift = 0) {
    const Tensor tensor = run.inout(dims, ++key_, Role::kCompute, scale);
    for (std::int64_t i = 0; i < tensor.elements(); ++i) tensor.as<double>()[i] += shift;
    return tensor;
  }

 private:
  std::uint64_t key_ = 100;
};

}  // namespace

TEST_CASE("finite differences: embedding", "[gradient]") {
  Gradients g;
  const Tensor tokens = g.run.integers({2, 5}, [](std::int64_t i) { return i * i % 4; });
  const Tensor weight = g.varied({4, 3}), positions = g.varied({8, 3});
  const Tensor cotangent = g.varied({2, 5, 3}), output = g.run.output({2, 5, 3});
  const Tensor grad_weight = g.varied({4, 3}), grad_positions = g.varied({8, 3});
  const auto before = values_of(grad_weight), positions_before = values_of(grad_positions);
  const Loss loss = [&] {
    g.ops.embedding_forward(tokens, weight, positions, 2, output);
    return inner_product(output, cotangent);
  };
  g.ops.embedding_backward(tokens, cotangent, 2, grad_weight, grad_positions);
  check_gradient("weight", weight, grad_weight, loss, before);
  check_gradient("position weight", positions, grad_positions, loss, positions_before);
}

TEST_CASE("finite differences: norms", "[gradient]") {
  for (NormKind kind : {NormKind::kLayerNorm, NormKind::kRmsNorm})
    for (bool with_residual : {false, true}) {
      Gradients g;
      const bool with_bias = kind == NormKind::kLayerNorm;
      const Tensor input = g.varied({5, 7}, 1, 0.5), weight = g.varied({7});
      const Tensor bias = with_bias ? g.varied({7}) : Tensor{};
      const Tensor cotangent = g.varied({5, 7}), output = g.run.output({5, 7});
      const Tensor statistics = g.run.output({5, 2});
      const Tensor residual_cotangent = with_residual ? g.varied({5, 7}) : Tensor{};
      const Tensor grad_input = g.run.output({5, 7});
      const Tensor grad_weight = g.varied({7}), grad_bias = with_bias ? g.varied({7}) : Tensor{};
      const auto weight_before = values_of(grad_weight);
      const auto bias_before = with_bias ? values_of(grad_bias) : std::vector<double>{};
      // With a residual the input also flows around the norm, into a cotangent of its own.
      const Loss loss = [&] {
        g.ops.norm_forward(kind, input, weight, bias, 1e-3, output, statistics);
        return inner_product(output, cotangent) +
               (with_residual ? inner_product(input, residual_cotangent) : 0);
      };
      loss();
      g.ops.norm_backward(kind, cotangent, input, statistics, weight, residual_cotangent,
                          grad_input, grad_weight, grad_bias);
      check_gradient("input", input, grad_input, loss);
      check_gradient("weight", weight, grad_weight, loss, weight_before);
      if (with_bias) check_gradient("bias", bias, grad_bias, loss, bias_before);
    }
}

TEST_CASE("finite differences: linear", "[gradient]") {
  Gradients g;
  const Tensor input = g.varied({5, 11}), weight = g.varied({3, 11}), bias = g.varied({3});
  const Tensor residual = g.varied({5, 3}), cotangent = g.varied({5, 3});
  const Tensor output = g.run.output({5, 3}), grad_input = g.run.output({5, 11});
  const Tensor grad_weight = g.varied({3, 11}), grad_bias = g.varied({3});
  const auto weight_before = values_of(grad_weight), bias_before = values_of(grad_bias);
  const Loss loss = [&] {
    g.ops.linear_forward(input, weight, bias, residual, output);
    return inner_product(output, cotangent);
  };
  g.ops.linear_input_grad(cotangent, weight, grad_input);
  g.ops.linear_weight_grad(cotangent, input, grad_weight, grad_bias);
  check_gradient("input", input, grad_input, loss);
  check_gradient("weight", weight, grad_weight, loss, weight_before);
  check_gradient("bias", bias, grad_bias, loss, bias_before);
  check_gradient("residual", residual, cotangent, loss);
}

TEST_CASE("finite differences: projection to the carry", "[gradient]") {
  for (bool interleaved : {false, true})
    for (int dimensions : {0, 4, 6}) {
      constexpr std::int64_t kStart = 3, kTokens = 4, kCapacity = kStart + kTokens;
      Gradients g;
      const Rotary rotary{dimensions, interleaved, 100};
      const Tensor projected = g.varied({2, kTokens, (4 + 2 * 2) * 6});
      const Tensor query = g.run.output({2, kTokens, 4, 6});
      const Tensor key = g.run.output({2, 2, kCapacity, 6});
      const Tensor value = g.run.output({2, 2, kCapacity, 6});
      g.ops.fill(key, 0);  // the rows before the segment
      g.ops.fill(value, 0);
      const Tensor grad_query = g.varied({2, kTokens, 4, 6});
      const Tensor grad_key = g.varied({2, 2, kCapacity, 6});
      const Tensor grad_value = g.varied({2, 2, kCapacity, 6});
      const Tensor grad_projected = g.run.output({2, kTokens, (4 + 2 * 2) * 6});
      const Loss loss = [&] {
        g.ops.split_qkv_rope(projected, kStart, rotary, query, key, value);
        return inner_product(query, grad_query) + inner_product(key, grad_key) +
               inner_product(value, grad_value);
      };
      g.ops.split_qkv_rope_backward(grad_query, grad_key, grad_value, kStart, rotary,
                                    grad_projected);
      check_gradient("projected", projected, grad_projected, loss);
    }
}

TEST_CASE("finite differences: attention with prefix, groups and documents", "[gradient]") {
  for (bool documents : {false, true})
    for (std::int64_t prefix : {0, 4})
      for (Accumulate mode : {Accumulate::kOverwrite, Accumulate::kAdd}) {
        constexpr std::int64_t kTokens = 5, kDim = 3;
        const std::int64_t keys = prefix + kTokens, capacity = keys + 2;
        Gradients g;
        const Tensor query = g.varied({2, kTokens, 4, kDim});
        const Tensor key = g.varied({2, 2, capacity, kDim});
        const Tensor value = g.varied({2, 2, capacity, kDim});
        const Tensor cotangent = g.varied({2, kTokens, 4, kDim});
        const Tensor output = g.run.output({2, kTokens, 4, kDim});
        const Tensor log_sum_exp = g.run.output({2, 4, kTokens});
        const Tensor starts = g.run.integers({2, kTokens}, [&](std::int64_t i) {
          const std::int64_t position = prefix + i % kTokens;
          return documents ? position / 3 * 3 : 0;
        });
        const AttentionRange range{prefix, 0, keys, starts.as<std::int32_t>()};
        const Loss loss = [&] {
          g.ops.attention_forward(query, key, value, range, 0.7, output, log_sum_exp);
          return inner_product(output, cotangent);
        };
        loss();
        const Tensor grad_query = g.run.output({2, kTokens, 4, kDim});
        const Tensor grad_key = g.varied({2, 2, capacity, kDim});
        const Tensor grad_value = g.varied({2, 2, capacity, kDim});
        auto key_before = values_of(grad_key), value_before = values_of(grad_value);
        g.ops.attention_backward(cotangent, query, key, value, output, log_sum_exp, range, 0.7,
                                 grad_query, grad_key, grad_value, mode);
        if (mode == Accumulate::kOverwrite)
          // Rows beyond the keys keep what they had; the others start from nothing.
          for (std::size_t i = 0; i < key_before.size(); ++i)
            if (static_cast<std::int64_t>(i) / kDim % capacity < keys)
              key_before[i] = value_before[i] = 0;
        check_gradient("query", query, grad_query, loss);
        check_gradient("key", key, grad_key, loss, key_before);
        check_gradient("value", value, grad_value, loss, value_before);
      }
}

TEST_CASE("finite differences: activations", "[gradient]") {
  Gradients g;
  const Tensor input = g.varied({3, 14}, 1.5), cotangent = g.varied({3, 14});
  const Tensor output = g.run.output({3, 14}), grad_input = g.run.output({3, 14});
  g.ops.gelu_backward(input, cotangent, grad_input);
  check_gradient("gelu", input, grad_input, [&] {
    g.ops.gelu_forward(input, output);
    return inner_product(output, cotangent);
  });

  const Tensor half_cotangent = g.varied({3, 7}), half_output = g.run.output({3, 7});
  g.ops.swiglu_backward(input, half_cotangent, grad_input);
  check_gradient("swiglu", input, grad_input, [&] {
    g.ops.swiglu_forward(input, half_output);
    return inner_product(half_output, half_cotangent);
  });
}

TEST_CASE("finite differences: cross entropy", "[gradient]") {
  Gradients g;
  const Tensor logits = g.varied({4, 9}, 2), gradient = g.run.output({4, 9});
  const Tensor work = g.run.output({4, 9});
  const Tensor labels = g.run.integers({4}, [](std::int64_t i) { return i == 1 ? -1 : 2 * i + 1; });
  const double scale = 0.4;
  double ignored = 0;
  g.ops.copy(logits, gradient);
  g.ops.cross_entropy(gradient, labels, &scale, true, &ignored);
  check_gradient("logits", logits, gradient, [&] {
    double loss = 0;
    g.ops.copy(logits, work);
    g.ops.cross_entropy(work, labels, nullptr, false, &loss);
    return scale * loss;
  });
}

}  // namespace seq1f1b::kernels::testing

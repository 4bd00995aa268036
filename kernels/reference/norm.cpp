#include <cmath>

#include "kernels/reference/kernels.h"

namespace seq1f1b::kernels::reference {
namespace {

// One expression for forward and apply, so that both round alike.
template <class C, class A>
void apply_row(const C* input, A mean, A rstd, const C* weight, const C* bias, C* output,
               std::int64_t width) {
  for (std::int64_t c = 0; c < width; ++c) {
    const A scaled = (static_cast<A>(input[c]) - mean) * rstd * static_cast<A>(weight[c]);
    output[c] = static_cast<C>(bias ? scaled + static_cast<A>(bias[c]) : scaled);
  }
}

}  // namespace

template <class C, class A>
void Norm<C, A>::forward(NormKind kind, const Tensor& input, const Tensor& weight,
                         const Tensor& bias, double epsilon, const Tensor& output,
                         const Tensor& statistics) {
  const std::int64_t width = weight.elements(), rows = input.elements() / width;
  for (std::int64_t row = 0; row < rows; ++row) {
    const C* x = input.as<const C>() + row * width;
    A mean = 0;
    if (kind == NormKind::kLayerNorm) {
      for (std::int64_t c = 0; c < width; ++c) mean += static_cast<A>(x[c]);
      mean /= static_cast<A>(width);
    }
    A squares = 0;
    for (std::int64_t c = 0; c < width; ++c) {
      const A centred = static_cast<A>(x[c]) - mean;
      squares += centred * centred;
    }
    A* saved = statistics.as<A>() + 2 * row;
    saved[0] = mean;
    saved[1] = 1 / std::sqrt(squares / static_cast<A>(width) + static_cast<A>(epsilon));
  }
  apply(kind, input, statistics, weight, bias, output);
}

template <class C, class A>
void Norm<C, A>::apply(NormKind, const Tensor& input, const Tensor& statistics,
                       const Tensor& weight, const Tensor& bias, const Tensor& output) {
  const std::int64_t width = weight.elements(), rows = input.elements() / width;
  for (std::int64_t row = 0; row < rows; ++row) {
    const A* saved = statistics.as<const A>() + 2 * row;
    apply_row(input.as<const C>() + row * width, saved[0], saved[1], weight.as<const C>(),
              bias.as<const C>(), output.as<C>() + row * width, width);
  }
}

// With n = (input - mean) * rstd and g = grad_output * weight:
//   grad_input = rstd * (g - n * mean(g n) - mean(g)), the last term for layernorm only.
template <class C, class A>
void Norm<C, A>::backward(NormKind kind, const Tensor& grad_output, const Tensor& input,
                          const Tensor& statistics, const Tensor& weight,
                          const Tensor& grad_residual, const Tensor& grad_input,
                          const Tensor& grad_weight, const Tensor& grad_bias) {
  const std::int64_t width = weight.elements(), rows = input.elements() / width;
  const C* weights = weight.as<const C>();
  A* gw = grad_weight.as<A>();
  A* gb = grad_bias.as<A>();
  for (std::int64_t row = 0; row < rows; ++row) {
    const C* x = input.as<const C>() + row * width;
    const C* go = grad_output.as<const C>() + row * width;
    const C* residual = grad_residual ? grad_residual.as<const C>() + row * width : nullptr;
    C* gi = grad_input.as<C>() + row * width;
    const A mean = statistics.as<const A>()[2 * row], rstd = statistics.as<const A>()[2 * row + 1];
    const auto normalised = [&](std::int64_t c) { return (static_cast<A>(x[c]) - mean) * rstd; };
    const auto weighted = [&](std::int64_t c) {
      return static_cast<A>(go[c]) * static_cast<A>(weights[c]);
    };
    A sum = 0, sum_normalised = 0;
    for (std::int64_t c = 0; c < width; ++c) {
      sum += weighted(c);
      sum_normalised += weighted(c) * normalised(c);
      gw[c] += static_cast<A>(go[c]) * normalised(c);
      if (gb) gb[c] += static_cast<A>(go[c]);
    }
    const A along_ones = kind == NormKind::kLayerNorm ? sum / static_cast<A>(width) : A{0};
    const A along_input = sum_normalised / static_cast<A>(width);
    for (std::int64_t c = 0; c < width; ++c) {
      const A grad = rstd * (weighted(c) - normalised(c) * along_input - along_ones);
      gi[c] = static_cast<C>(residual ? grad + static_cast<A>(residual[c]) : grad);
    }
  }
}

template struct Norm<double, double>;
template struct Norm<float, float>;
template struct Norm<Bf16, float>;

}  // namespace seq1f1b::kernels::reference

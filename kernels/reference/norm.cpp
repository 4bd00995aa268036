#include <cmath>

#include "kernels/reference/kernels.h"

namespace seq1f1b::kernels::reference {
namespace {

// One expression for forward and apply, so that both round alike.
template <class T>
void apply_row(const T* input, T mean, T rstd, const T* weight, const T* bias, T* output,
               std::int64_t width) {
  for (std::int64_t c = 0; c < width; ++c) {
    const T scaled = (input[c] - mean) * rstd * weight[c];
    output[c] = bias ? scaled + bias[c] : scaled;
  }
}

}  // namespace

template <class T>
void Norm<T>::forward(NormKind kind, const Tensor& input, const Tensor& weight, const Tensor& bias,
                      double epsilon, const Tensor& output, const Tensor& statistics) {
  const std::int64_t width = weight.elements(), rows = input.elements() / width;
  for (std::int64_t row = 0; row < rows; ++row) {
    const T* x = input.as<const T>() + row * width;
    T mean = 0;
    if (kind == NormKind::kLayerNorm) {
      for (std::int64_t c = 0; c < width; ++c) mean += x[c];
      mean /= static_cast<T>(width);
    }
    T squares = 0;
    for (std::int64_t c = 0; c < width; ++c) squares += (x[c] - mean) * (x[c] - mean);
    T* saved = statistics.as<T>() + 2 * row;
    saved[0] = mean;
    saved[1] = 1 / std::sqrt(squares / static_cast<T>(width) + static_cast<T>(epsilon));
  }
  apply(kind, input, statistics, weight, bias, output);
}

template <class T>
void Norm<T>::apply(NormKind, const Tensor& input, const Tensor& statistics, const Tensor& weight,
                    const Tensor& bias, const Tensor& output) {
  const std::int64_t width = weight.elements(), rows = input.elements() / width;
  for (std::int64_t row = 0; row < rows; ++row) {
    const T* saved = statistics.as<const T>() + 2 * row;
    apply_row(input.as<const T>() + row * width, saved[0], saved[1], weight.as<const T>(),
              bias.as<const T>(), output.as<T>() + row * width, width);
  }
}

// With n = (input - mean) * rstd and g = grad_output * weight:
//   grad_input = rstd * (g - n * mean(g n) - mean(g)), the last term for layernorm only.
template <class T>
void Norm<T>::backward(NormKind kind, const Tensor& grad_output, const Tensor& input,
                       const Tensor& statistics, const Tensor& weight, const Tensor& grad_residual,
                       const Tensor& grad_input, const Tensor& grad_weight,
                       const Tensor& grad_bias) {
  const std::int64_t width = weight.elements(), rows = input.elements() / width;
  const T* w = weight.as<const T>();
  T* gw = grad_weight.as<T>();
  T* gb = grad_bias.as<T>();
  for (std::int64_t row = 0; row < rows; ++row) {
    const T* x = input.as<const T>() + row * width;
    const T* go = grad_output.as<const T>() + row * width;
    const T* residual = grad_residual ? grad_residual.as<const T>() + row * width : nullptr;
    T* gi = grad_input.as<T>() + row * width;
    const T mean = statistics.as<const T>()[2 * row], rstd = statistics.as<const T>()[2 * row + 1];
    T sum = 0, sum_normalised = 0;
    for (std::int64_t c = 0; c < width; ++c) {
      const T normalised = (x[c] - mean) * rstd;
      sum += go[c] * w[c];
      sum_normalised += go[c] * w[c] * normalised;
      gw[c] += go[c] * normalised;
      if (gb) gb[c] += go[c];
    }
    const T along_ones = kind == NormKind::kLayerNorm ? sum / static_cast<T>(width) : T{0};
    const T along_input = sum_normalised / static_cast<T>(width);
    for (std::int64_t c = 0; c < width; ++c) {
      const T normalised = (x[c] - mean) * rstd;
      const T grad = rstd * (go[c] * w[c] - normalised * along_input - along_ones);
      gi[c] = residual ? grad + residual[c] : grad;
    }
  }
}

template struct Norm<float>;
template struct Norm<double>;

}  // namespace seq1f1b::kernels::reference

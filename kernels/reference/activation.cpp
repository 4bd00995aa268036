#include <cmath>

#include "kernels/reference/kernels.h"

namespace seq1f1b::kernels::reference {
namespace {

// The tanh form of GELU: Hendrycks & Gimpel, arXiv 1606.08415, section 2.
constexpr double kCubic = 0.044715;
constexpr double kSlope = 0.79788456080286535588;  // sqrt(2 / pi)

template <class T>
T gelu_tanh(T x) {
  return std::tanh(static_cast<T>(kSlope) * (x + static_cast<T>(kCubic) * x * x * x));
}

template <class T>
T gelu(T x) {
  return T{0.5} * x * (1 + gelu_tanh(x));
}

template <class T>
T gelu_slope(T x) {
  const T t = gelu_tanh(x);
  const T inner_slope = static_cast<T>(kSlope) * (1 + static_cast<T>(3 * kCubic) * x * x);
  return T{0.5} * (1 + t) + T{0.5} * x * (1 - t * t) * inner_slope;
}

template <class T>
T sigmoid(T x) {
  return 1 / (1 + std::exp(-x));
}

}  // namespace

template <class T>
void Activation<T>::gelu_forward(const Tensor& input, const Tensor& output) {
  for (std::int64_t i = 0; i < input.elements(); ++i)
    output.as<T>()[i] = gelu(input.as<const T>()[i]);
}

template <class T>
void Activation<T>::gelu_backward(const Tensor& input, const Tensor& grad_output,
                                  const Tensor& grad_input) {
  for (std::int64_t i = 0; i < input.elements(); ++i)
    grad_input.as<T>()[i] = grad_output.as<const T>()[i] * gelu_slope(input.as<const T>()[i]);
}

template <class T>
void Activation<T>::swiglu_forward(const Tensor& gate_up, const Tensor& output) {
  const std::int64_t ffn = output.dim(output.rank - 1), rows = output.elements() / ffn;
  for (std::int64_t row = 0; row < rows; ++row) {
    const T* gate = gate_up.as<const T>() + row * 2 * ffn;
    const T* up = gate + ffn;
    for (std::int64_t c = 0; c < ffn; ++c)
      output.as<T>()[row * ffn + c] = gate[c] * sigmoid(gate[c]) * up[c];
  }
}

template <class T>
void Activation<T>::swiglu_backward(const Tensor& gate_up, const Tensor& grad_output,
                                    const Tensor& grad_gate_up) {
  const std::int64_t ffn = grad_output.dim(grad_output.rank - 1);
  const std::int64_t rows = grad_output.elements() / ffn;
  for (std::int64_t row = 0; row < rows; ++row) {
    const T* gate = gate_up.as<const T>() + row * 2 * ffn;
    const T* up = gate + ffn;
    const T* grad = grad_output.as<const T>() + row * ffn;
    T* grad_gate = grad_gate_up.as<T>() + row * 2 * ffn;
    T* grad_up = grad_gate + ffn;
    for (std::int64_t c = 0; c < ffn; ++c) {
      const T s = sigmoid(gate[c]);
      // silu'(x) = s (1 + x (1 - s))
      grad_gate[c] = grad[c] * up[c] * s * (1 + gate[c] * (1 - s));
      grad_up[c] = grad[c] * gate[c] * s;
    }
  }
}

template struct Activation<float>;
template struct Activation<double>;

}  // namespace seq1f1b::kernels::reference

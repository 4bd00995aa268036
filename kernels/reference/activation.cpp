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

template <class C, class A>
void Activation<C, A>::gelu_forward(const Tensor& input, const Tensor& output) {
  for (std::int64_t i = 0; i < input.elements(); ++i)
    output.as<C>()[i] = static_cast<C>(gelu(static_cast<A>(input.as<const C>()[i])));
}

template <class C, class A>
void Activation<C, A>::gelu_backward(const Tensor& input, const Tensor& grad_output,
                                     const Tensor& grad_input) {
  for (std::int64_t i = 0; i < input.elements(); ++i) {
    const auto grad = static_cast<A>(grad_output.as<const C>()[i]);
    grad_input.as<C>()[i] =
        static_cast<C>(grad * gelu_slope(static_cast<A>(input.as<const C>()[i])));
  }
}

template <class C, class A>
void Activation<C, A>::swiglu_forward(const Tensor& gate_up, const Tensor& output) {
  const std::int64_t ffn = output.dim(output.rank - 1), rows = output.elements() / ffn;
  for (std::int64_t row = 0; row < rows; ++row) {
    const C* gates = gate_up.as<const C>() + row * 2 * ffn;
    const C* ups = gates + ffn;
    for (std::int64_t c = 0; c < ffn; ++c) {
      const auto gate = static_cast<A>(gates[c]), up = static_cast<A>(ups[c]);
      output.as<C>()[row * ffn + c] = static_cast<C>(gate * sigmoid(gate) * up);
    }
  }
}

template <class C, class A>
void Activation<C, A>::swiglu_backward(const Tensor& gate_up, const Tensor& grad_output,
                                       const Tensor& grad_gate_up) {
  const std::int64_t ffn = grad_output.dim(grad_output.rank - 1);
  const std::int64_t rows = grad_output.elements() / ffn;
  for (std::int64_t row = 0; row < rows; ++row) {
    const C* gates = gate_up.as<const C>() + row * 2 * ffn;
    const C* ups = gates + ffn;
    C* grad_gates = grad_gate_up.as<C>() + row * 2 * ffn;
    C* grad_ups = grad_gates + ffn;
    for (std::int64_t c = 0; c < ffn; ++c) {
      const auto gate = static_cast<A>(gates[c]), up = static_cast<A>(ups[c]);
      const auto grad = static_cast<A>(grad_output.as<const C>()[row * ffn + c]);
      const A s = sigmoid(gate);
      // silu'(x) = s (1 + x (1 - s))
      grad_gates[c] = static_cast<C>(grad * up * s * (1 + gate * (1 - s)));
      grad_ups[c] = static_cast<C>(grad * gate * s);
    }
  }
}

template struct Activation<double, double>;
template struct Activation<float, float>;
template struct Activation<Bf16, float>;

}  // namespace seq1f1b::kernels::reference

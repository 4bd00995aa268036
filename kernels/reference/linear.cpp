#include <algorithm>
#include <vector>

#include "kernels/reference/dot.h"
#include "kernels/reference/kernels.h"

namespace seq1f1b::kernels::reference {

template <class C, class A>
void Linear<C, A>::forward(const Tensor& input, const Tensor& weight, const Tensor& bias,
                           const Tensor& residual, const Tensor& output) {
  const std::int64_t out = weight.dim(0), in = weight.dim(1), rows = input.elements() / in;
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t o = 0; o < out; ++o) {
      A sum = dot<A>(input.as<const C>() + row * in, weight.as<const C>() + o * in, in);
      if (bias) sum += static_cast<A>(bias.as<const C>()[o]);
      if (residual) sum += static_cast<A>(residual.as<const C>()[row * out + o]);
      output.as<C>()[row * out + o] = static_cast<C>(sum);
    }
  }
}

template <class C, class A>
void Linear<C, A>::input_grad(const Tensor& grad_output, const Tensor& weight,
                              const Tensor& grad_input) {
  const std::int64_t out = weight.dim(0), in = weight.dim(1), rows = grad_output.elements() / out;
  std::vector<A> sums(static_cast<std::size_t>(in));
  for (std::int64_t row = 0; row < rows; ++row) {
    std::fill(sums.begin(), sums.end(), A{0});
    for (std::int64_t o = 0; o < out; ++o)
      add_scaled(static_cast<A>(grad_output.as<const C>()[row * out + o]),
                 weight.as<const C>() + o * in, sums.data(), in);
    round_row(sums.data(), grad_input.as<C>() + row * in, in);
  }
}

template <class C, class A>
void Linear<C, A>::weight_grad(const Tensor& grad_output, const Tensor& input,
                               const Tensor& grad_weight, const Tensor& grad_bias) {
  const std::int64_t out = grad_weight.dim(0), in = grad_weight.dim(1),
                     rows = input.elements() / in;
  for (std::int64_t o = 0; o < out; ++o) {
    for (std::int64_t row = 0; row < rows; ++row) {
      const auto grad = static_cast<A>(grad_output.as<const C>()[row * out + o]);
      add_scaled(grad, input.as<const C>() + row * in, grad_weight.as<A>() + o * in, in);
      if (grad_bias) grad_bias.as<A>()[o] += grad;
    }
  }
}

template struct Linear<double, double>;
template struct Linear<float, float>;
template struct Linear<Bf16, float>;

}  // namespace seq1f1b::kernels::reference

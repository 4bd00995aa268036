#include "kernels/reference/dot.h"
#include "kernels/reference/kernels.h"

namespace seq1f1b::kernels::reference {

template <class T>
void Linear<T>::forward(const Tensor& input, const Tensor& weight, const Tensor& bias,
                        const Tensor& residual, const Tensor& output) {
  const std::int64_t out = weight.dim(0), in = weight.dim(1), rows = input.elements() / in;
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t o = 0; o < out; ++o) {
      T sum = dot(input.as<const T>() + row * in, weight.as<const T>() + o * in, in);
      if (bias) sum += bias.as<const T>()[o];
      if (residual) sum += residual.as<const T>()[row * out + o];
      output.as<T>()[row * out + o] = sum;
    }
  }
}

template <class T>
void Linear<T>::input_grad(const Tensor& grad_output, const Tensor& weight,
                           const Tensor& grad_input) {
  const std::int64_t out = weight.dim(0), in = weight.dim(1), rows = grad_output.elements() / out;
  for (std::int64_t row = 0; row < rows; ++row) {
    T* grad = grad_input.as<T>() + row * in;
    for (std::int64_t i = 0; i < in; ++i) grad[i] = 0;
    for (std::int64_t o = 0; o < out; ++o)
      add_scaled(grad_output.as<const T>()[row * out + o], weight.as<const T>() + o * in, grad, in);
  }
}

template <class T>
void Linear<T>::weight_grad(const Tensor& grad_output, const Tensor& input,
                            const Tensor& grad_weight, const Tensor& grad_bias) {
  const std::int64_t out = grad_weight.dim(0), in = grad_weight.dim(1),
                     rows = input.elements() / in;
  for (std::int64_t o = 0; o < out; ++o) {
    for (std::int64_t row = 0; row < rows; ++row) {
      const T grad = grad_output.as<const T>()[row * out + o];
      add_scaled(grad, input.as<const T>() + row * in, grad_weight.as<T>() + o * in, in);
      if (grad_bias) grad_bias.as<T>()[o] += grad;
    }
  }
}

template struct Linear<float>;
template struct Linear<double>;

}  // namespace seq1f1b::kernels::reference

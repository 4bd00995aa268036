#include <cmath>

#include "kernels/reference/kernels.h"

namespace seq1f1b::kernels::reference {

template <class T>
void Optimizer<T>::sum_of_squares(const Tensor& input, double* result) {
  double sum = 0;
  for (std::int64_t i = 0; i < input.elements(); ++i) {
    const double x = input.as<const T>()[i];
    sum += x * x;
  }
  *result = sum;
}

template <class T>
void Optimizer<T>::adamw(std::span<const AdamwTensor> tensors, const AdamwStep& step) {
  const T beta1 = static_cast<T>(step.beta1), beta2 = static_cast<T>(step.beta2);
  const T rest1 = static_cast<T>(1 - step.beta1), rest2 = static_cast<T>(1 - step.beta2);
  for (const AdamwTensor& tensor : tensors) {
    for (std::int64_t i = 0; i < tensor.weight.elements(); ++i) {
      T& weight = tensor.weight.as<T>()[i];
      T& first = tensor.first_moment.as<T>()[i];
      T& second = tensor.second_moment.as<T>()[i];
      const T gradient = tensor.gradient.as<const T>()[i] * static_cast<T>(step.gradient_scale);
      first = beta1 * first + rest1 * gradient;
      second = beta2 * second + rest2 * gradient * gradient;
      const T size =
          std::sqrt(second / static_cast<T>(step.bias_correction2)) + static_cast<T>(step.epsilon);
      const T update = first / static_cast<T>(step.bias_correction1) / size +
                       static_cast<T>(tensor.weight_decay) * weight;
      weight -= static_cast<T>(step.learning_rate) * update;
    }
  }
}

template struct Optimizer<float>;
template struct Optimizer<double>;

}  // namespace seq1f1b::kernels::reference

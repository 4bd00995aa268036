#include <cmath>

#include "kernels/reference/kernels.h"

namespace seq1f1b::kernels::reference {

template <class C, class A>
void Optimizer<C, A>::sum_of_squares(const Tensor& input, double* result) {
  double sum = 0;
  for (std::int64_t i = 0; i < input.elements(); ++i) {
    const double x = input.as<const A>()[i];
    sum += x * x;
  }
  *result = sum;
}

template <class C, class A>
void Optimizer<C, A>::adamw(std::span<const AdamwTensor> tensors, const AdamWParams& step) {
  const A beta1 = static_cast<A>(step.beta1), beta2 = static_cast<A>(step.beta2);
  const A rest1 = static_cast<A>(1 - step.beta1), rest2 = static_cast<A>(1 - step.beta2);
  for (const AdamwTensor& tensor : tensors) {
    // The updated values: the master's, or the weight's own where it has the accumulate type.
    A* exact = tensor.master ? tensor.master.as<A>() : tensor.weight.as<A>();
    for (std::int64_t i = 0; i < tensor.weight.elements(); ++i) {
      A& weight = exact[i];
      A& first = tensor.first_moment.as<A>()[i];
      A& second = tensor.second_moment.as<A>()[i];
      const A gradient = tensor.gradient.as<const A>()[i] * static_cast<A>(step.gradient_scale);
      first = beta1 * first + rest1 * gradient;
      second = beta2 * second + rest2 * gradient * gradient;
      const A size =
          std::sqrt(second / static_cast<A>(step.bias_correction2)) + static_cast<A>(step.epsilon);
      const A update = first / static_cast<A>(step.bias_correction1) / size +
                       static_cast<A>(tensor.weight_decay) * weight;
      weight -= static_cast<A>(step.learning_rate) * update;
      if (tensor.master) tensor.weight.as<C>()[i] = static_cast<C>(weight);
    }
  }
}

template struct Optimizer<double, double>;
template struct Optimizer<float, float>;
template struct Optimizer<Bf16, float>;

}  // namespace seq1f1b::kernels::reference

#include "kernels/cpu/kernels.h"

namespace seq1f1b::kernels::cpu {

template <class T>
void sum_of_squares(Context<T>& context, const Tensor& input, double* result) {
  constexpr std::int64_t kBlock = 16384;
  const std::int64_t count = input.elements(), blocks = (count + kBlock - 1) / kBlock;
  double* const partial = context.doubles.at_least(blocks);
  context.for_each(blocks, count, [&](std::int64_t block) {
    const std::int64_t begin = block * kBlock;
    partial[block] = context.loops.sum_of_squares(input.as<float>() + begin,
                                                  begin + kBlock < count ? kBlock : count - begin);
  });
  double sum = 0;
  for (std::int64_t block = 0; block < blocks; ++block) sum += partial[block];
  *result = sum;
}

template <class T>
void adamw(const Context<T>& context, std::span<const AdamwTensor> tensors,
           const AdamWParams& step) {
  AdamwConstants constants{};
  constants.beta1 = static_cast<float>(step.beta1);
  constants.rest1 = static_cast<float>(1 - step.beta1);
  constants.beta2 = static_cast<float>(step.beta2);
  constants.rest2 = static_cast<float>(1 - step.beta2);
  constants.inverse_correction1 = static_cast<float>(1 / step.bias_correction1);
  constants.inverse_correction2 = static_cast<float>(1 / step.bias_correction2);
  constants.epsilon = static_cast<float>(step.epsilon);
  constants.learning_rate = static_cast<float>(step.learning_rate);
  constants.gradient_scale = static_cast<float>(step.gradient_scale);
  for (const AdamwTensor& tensor : tensors) {
    constants.weight_decay = static_cast<float>(tensor.weight_decay);
    const Tensor& master = tensor.master ? tensor.master : tensor.weight;  // the fp32 weights
    context.for_ranges(tensor.weight.elements(), [&](std::int64_t begin, std::int64_t end) {
      float* const weight = master.as<float>() + begin;
      context.loops.adamw(constants, tensor.gradient.as<float>() + begin, weight,
                          tensor.first_moment.as<float>() + begin,
                          tensor.second_moment.as<float>() + begin, end - begin);
      if (tensor.master) context.loops.narrow(weight, tensor.weight.as<T>() + begin, end - begin);
    });
  }
}

template void sum_of_squares(Context<float>&, const Tensor&, double*);
template void adamw(const Context<float>&, std::span<const AdamwTensor>, const AdamWParams&);

}  // namespace seq1f1b::kernels::cpu

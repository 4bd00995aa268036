#include <algorithm>
#include <cstring>

#include "kernels/cpu/kernels.h"

namespace seq1f1b::kernels::cpu {

template <class T>
void embedding_forward(const Context<T>& context, const Tensor& tokens, const Tensor& weight,
                       const Tensor& position_weight, std::int64_t start, const Tensor& output) {
  const std::int64_t hidden = weight.dim(1), length = tokens.dim(1);
  context.for_each(tokens.elements(), output.elements(), [&](std::int64_t row) {
    const T* word = weight.as<T>() + tokens.as<std::int32_t>()[row] * hidden;
    T* out = output.as<T>() + row * hidden;
    if (position_weight)
      context.loops.sum(word, position_weight.as<T>() + (start + row % length) * hidden, out,
                        hidden);
    else
      std::memcpy(out, word, static_cast<std::size_t>(hidden) * sizeof(T));
  });
}

template <class T>
void embedding_backward(const Context<T>& context, const Tensor& tokens, const Tensor& grad_output,
                        std::int64_t start, const Tensor& grad_weight,
                        const Tensor& grad_position_weight) {
  constexpr std::int64_t kStripe = 64;  // four cache lines; narrow enough to employ many threads
  const std::int64_t hidden = grad_weight.dim(1), length = tokens.dim(1);
  const std::int64_t stripes = (hidden + kStripe - 1) / kStripe;
  context.for_each(stripes, grad_output.elements(), [&](std::int64_t stripe) {
    const std::int64_t first = stripe * kStripe, width = std::min(kStripe, hidden - first);
    for (std::int64_t row = 0; row < tokens.elements(); ++row) {
      const T* grad = grad_output.as<T>() + row * hidden + first;
      const std::int64_t token = tokens.as<std::int32_t>()[row];
      context.loops.add(grad, grad_weight.as<float>() + token * hidden + first, width);
      if (!grad_position_weight) continue;
      const std::int64_t position = start + row % length;
      context.loops.add(grad, grad_position_weight.as<float>() + position * hidden + first, width);
    }
  });
}

template void embedding_forward(const Context<float>&, const Tensor&, const Tensor&, const Tensor&,
                                std::int64_t, const Tensor&);
template void embedding_backward(const Context<float>&, const Tensor&, const Tensor&, std::int64_t,
                                 const Tensor&, const Tensor&);

}  // namespace seq1f1b::kernels::cpu

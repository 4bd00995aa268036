#include "kernels/reference/kernels.h"

namespace seq1f1b::kernels::reference {

template <class C, class A>
void Embedding<C, A>::forward(const Tensor& tokens, const Tensor& weight,
                              const Tensor& position_weight, std::int64_t start,
                              const Tensor& output) {
  const std::int64_t hidden = weight.dim(1), length = tokens.dim(1);
  const auto* token = tokens.as<const std::int32_t>();
  for (std::int64_t row = 0; row < tokens.elements(); ++row) {
    const C* word = weight.as<const C>() + token[row] * hidden;
    C* out = output.as<C>() + row * hidden;
    if (!position_weight) {
      for (std::int64_t c = 0; c < hidden; ++c) out[c] = word[c];
      continue;
    }
    const C* position = position_weight.as<const C>() + (start + row % length) * hidden;
    for (std::int64_t c = 0; c < hidden; ++c)
      out[c] = static_cast<C>(static_cast<A>(word[c]) + static_cast<A>(position[c]));
  }
}

template <class C, class A>
void Embedding<C, A>::backward(const Tensor& tokens, const Tensor& grad_output, std::int64_t start,
                               const Tensor& grad_weight, const Tensor& grad_position_weight) {
  const std::int64_t hidden = grad_weight.dim(1), length = tokens.dim(1);
  const auto* token = tokens.as<const std::int32_t>();
  for (std::int64_t row = 0; row < tokens.elements(); ++row) {
    const C* grad = grad_output.as<const C>() + row * hidden;
    A* word = grad_weight.as<A>() + token[row] * hidden;
    for (std::int64_t c = 0; c < hidden; ++c) word[c] += static_cast<A>(grad[c]);
    if (!grad_position_weight) continue;
    A* position = grad_position_weight.as<A>() + (start + row % length) * hidden;
    for (std::int64_t c = 0; c < hidden; ++c) position[c] += static_cast<A>(grad[c]);
  }
}

template struct Embedding<double, double>;
template struct Embedding<float, float>;
template struct Embedding<Bf16, float>;

}  // namespace seq1f1b::kernels::reference

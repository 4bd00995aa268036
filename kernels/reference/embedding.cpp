#include "kernels/reference/kernels.h"

namespace seq1f1b::kernels::reference {

template <class T>
void Embedding<T>::forward(const Tensor& tokens, const Tensor& weight,
                           const Tensor& position_weight, std::int64_t start,
                           const Tensor& output) {
  const std::int64_t hidden = weight.dim(1), length = tokens.dim(1);
  const auto* token = tokens.as<const std::int32_t>();
  for (std::int64_t row = 0; row < tokens.elements(); ++row) {
    const T* word = weight.as<const T>() + token[row] * hidden;
    T* out = output.as<T>() + row * hidden;
    for (std::int64_t c = 0; c < hidden; ++c) out[c] = word[c];
    if (!position_weight) continue;
    const T* position = position_weight.as<const T>() + (start + row % length) * hidden;
    for (std::int64_t c = 0; c < hidden; ++c) out[c] += position[c];
  }
}

template <class T>
void Embedding<T>::backward(const Tensor& tokens, const Tensor& grad_output, std::int64_t start,
                            const Tensor& grad_weight, const Tensor& grad_position_weight) {
  const std::int64_t hidden = grad_weight.dim(1), length = tokens.dim(1);
  const auto* token = tokens.as<const std::int32_t>();
  for (std::int64_t row = 0; row < tokens.elements(); ++row) {
    const T* grad = grad_output.as<const T>() + row * hidden;
    T* word = grad_weight.as<T>() + token[row] * hidden;
    for (std::int64_t c = 0; c < hidden; ++c) word[c] += grad[c];
    if (!grad_position_weight) continue;
    T* position = grad_position_weight.as<T>() + (start + row % length) * hidden;
    for (std::int64_t c = 0; c < hidden; ++c) position[c] += grad[c];
  }
}

template struct Embedding<float>;
template struct Embedding<double>;

}  // namespace seq1f1b::kernels::reference

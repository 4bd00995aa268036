#include <algorithm>
#include <cmath>

#include "kernels/reference/kernels.h"

namespace seq1f1b::kernels::reference {

template <class T>
void CrossEntropy<T>::run(const Tensor& logits, const Tensor& labels, const double* scale,
                          bool write_gradient, double* loss_sum) {
  const std::int64_t rows = labels.elements(), vocab = logits.elements() / rows;
  for (std::int64_t row = 0; row < rows; ++row) {
    T* x = logits.as<T>() + row * vocab;
    const std::int32_t label = labels.as<const std::int32_t>()[row];
    if (label < 0) {
      if (write_gradient) std::fill_n(x, vocab, T{0});
      continue;
    }
    const T highest = *std::max_element(x, x + vocab);
    const T at_label = x[label];
    T sum = 0;
    for (std::int64_t c = 0; c < vocab; ++c) sum += std::exp(x[c] - highest);
    *loss_sum += static_cast<double>(std::log(sum) + (highest - at_label));
    if (!write_gradient) continue;
    const T factor = static_cast<T>(*scale);
    for (std::int64_t c = 0; c < vocab; ++c) {
      const T probability = std::exp(x[c] - highest) / sum;
      x[c] = factor * (c == label ? probability - 1 : probability);
    }
  }
}

template struct CrossEntropy<float>;
template struct CrossEntropy<double>;

}  // namespace seq1f1b::kernels::reference

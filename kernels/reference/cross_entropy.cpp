#include <algorithm>
#include <cmath>

#include "kernels/reference/kernels.h"

namespace seq1f1b::kernels::reference {

template <class C, class A>
void CrossEntropy<C, A>::run(const Tensor& logits, const Tensor& labels, const double* scale,
                             bool write_gradient, double* loss_sum) {
  const std::int64_t rows = labels.elements(), vocab = logits.elements() / rows;
  for (std::int64_t row = 0; row < rows; ++row) {
    C* x = logits.as<C>() + row * vocab;
    const auto logit = [&](std::int64_t c) { return static_cast<A>(x[c]); };
    const std::int32_t label = labels.as<const std::int32_t>()[row];
    if (label < 0) {
      if (write_gradient) std::fill_n(x, vocab, C{});
      continue;
    }
    A highest = logit(0);
    for (std::int64_t c = 1; c < vocab; ++c) highest = std::max(highest, logit(c));
    const A at_label = logit(label);
    A sum = 0;
    for (std::int64_t c = 0; c < vocab; ++c) sum += std::exp(logit(c) - highest);
    *loss_sum += static_cast<double>(std::log(sum) + (highest - at_label));
    if (!write_gradient) continue;
    const A factor = static_cast<A>(*scale);
    for (std::int64_t c = 0; c < vocab; ++c) {
      const A probability = std::exp(logit(c) - highest) / sum;
      x[c] = static_cast<C>(factor * (c == label ? probability - 1 : probability));
    }
  }
}

template struct CrossEntropy<double, double>;
template struct CrossEntropy<float, float>;
template struct CrossEntropy<Bf16, float>;

}  // namespace seq1f1b::kernels::reference

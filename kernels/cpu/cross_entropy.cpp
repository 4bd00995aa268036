#include <algorithm>
#include <cmath>

#include "kernels/cpu/kernels.h"

namespace seq1f1b::kernels::cpu {

// Each row: its largest logit, the exponentials in place and their sum, then the gradient in place,
// so a row is read three times, mostly from cache.
template <class T>
void cross_entropy(Context<T>& context, const Tensor& logits, const Tensor& labels,
                   const double* scale, bool write_gradient, double* loss_sum) {
  const std::int64_t rows = labels.elements(), vocab = logits.elements() / rows;
  const auto* label = labels.as<std::int32_t>();
  double* const loss = context.doubles.at_least(rows);

  context.for_each(rows, logits.elements(), [&](std::int64_t row) {
    T* x = logits.as<T>() + row * vocab;
    if (label[row] < 0) {
      if (write_gradient) std::fill_n(x, vocab, static_cast<T>(0.0f));
      return;
    }
    const double at_label = static_cast<float>(x[label[row]]);
    float max = 0;
    double sum = 0;
    context.loops.softmax_terms(x, vocab, &max, &sum);
    loss[row] = std::log(sum) + (max - at_label);
    if (!write_gradient) return;
    context.loops.scale(static_cast<float>(*scale / sum), x, vocab);
    T& target = x[label[row]];
    target = static_cast<T>(static_cast<float>(target) - static_cast<float>(*scale));
  });

  for (std::int64_t row = 0; row < rows; ++row)
    if (label[row] >= 0) *loss_sum += loss[row];
}

template void cross_entropy(Context<float>&, const Tensor&, const Tensor&, const double*, bool,
                            double*);

}  // namespace seq1f1b::kernels::cpu

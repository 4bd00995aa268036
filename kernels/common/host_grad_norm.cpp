#include "kernels/common/host_grad_norm.h"

#include <cmath>

namespace seq1f1b::kernels {

void finalize_grad_norm_on_host(const Tensor& squares, double loss_sum, double clip_norm,
                                AdamWParams& step) {
  double sum = 0;
  for (std::int64_t i = 0; i < squares.elements(); ++i) sum += squares.as<const double>()[i];
  step.gradient_norm = std::sqrt(sum);
  step.gradient_scale =
      clip_norm > 0 && step.gradient_norm > clip_norm ? clip_norm / step.gradient_norm : 1.0;
  step.loss_sum = loss_sum;
  step.apply = std::isfinite(step.gradient_norm) && std::isfinite(loss_sum) ? 1.0 : 0.0;
}

}  // namespace seq1f1b::kernels

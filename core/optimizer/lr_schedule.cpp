#include "core/optimizer/lr_schedule.h"

#include <cmath>
#include <numbers>

#include "kernels/common/errors.h"

namespace seq1f1b::optimizer {

double learning_rate(const config::OptimizerConfig& config, std::int64_t step,
                     std::int64_t train_iters) {
  SEQ1F1B_ASSERT(step >= 1, "step ", step);
  const std::int64_t warmup = config.lr_warmup_iters;
  const std::int64_t end = config.lr_decay_iters > 0 ? config.lr_decay_iters : train_iters;
  if (step < warmup) return config.lr * static_cast<double>(step) / static_cast<double>(warmup);
  if (config.lr_decay_style == "constant") return config.lr;
  if (step == warmup) return config.lr;  // also when the decay would already be over
  if (step >= end) return config.min_lr;
  const double share = static_cast<double>(step - warmup) / static_cast<double>(end - warmup);
  const double height = config.lr - config.min_lr;
  if (config.lr_decay_style == "linear") return config.min_lr + height * (1.0 - share);
  SEQ1F1B_ASSERT(config.lr_decay_style == "cosine", config.lr_decay_style);
  return config.min_lr + height * 0.5 * (1.0 + std::cos(std::numbers::pi * share));
}

}  // namespace seq1f1b::optimizer

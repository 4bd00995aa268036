#pragma once
// The learning rate as a function of the step alone, so that a resumed run continues it exactly.
#include <cstdint>

#include "core/config/config.h"

namespace seq1f1b::optimizer {

// At optimizer step `step` (the first is 1). Rises linearly to lr, which it reaches at
// lr_warmup_iters; then falls to min_lr, which it reaches at lr_decay_iters (0: train_iters) and
// keeps. The style "constant" stays at lr instead. When the warm-up is not over by lr_decay_iters
// it is completed first.
double learning_rate(const config::OptimizerConfig& config, std::int64_t step,
                     std::int64_t train_iters);

}  // namespace seq1f1b::optimizer

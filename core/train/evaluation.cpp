#include "core/train/evaluation.h"

#include <algorithm>
#include <array>
#include <numbers>
#include <string>

#include "core/train/agreement.h"
#include "kernels/common/errors.h"

namespace seq1f1b::train {

Evaluator::Evaluator(const config::Config& config, runtime::RankRuntime& runtime,
                     const Samples* samples, std::span<std::int32_t> batch,
                     const data::Tokenizer* tokenizer, comm::Group& all)
    : runtime_(runtime),
      samples_(samples),
      batch_(batch),
      tokenizer_(tokenizer),
      all_(all),
      seq_length_(config.training.seq_length) {
  const std::int64_t mine =
      samples ? samples->evaluation_batches(config.training.eval_iters) : std::int64_t{0};
  batches_ = std::ranges::max(
      all.all_gather(mine, [] { return "comparing the size of the validation share"; }));
}

std::optional<Evaluation> Evaluator::run(std::int64_t step) {
  if (batches_ == 0) return std::nullopt;
  std::array<double, 3> sums{};  // loss, tokens, bytes
  for (std::int64_t index = 0; index < batches_; ++index) {
    agree(all_, concat("reading the samples of an evaluation (step ", step, ")"), [&] {
      if (samples_) samples_->evaluation_batch(index, batch_);
    });
    sums[0] += runtime_.evaluate_pass(batch_, step).loss_sum;
    // Exactly one rank has the head; only it counts what the loss was summed over.
    if (!runtime_.has_head()) continue;
    const LabelCount count = count_labels(batch_, seq_length_, tokenizer_);
    sums[1] += static_cast<double>(count.tokens);
    sums[2] += static_cast<double>(count.bytes);
  }
  all_.all_reduce_sum(sums, [&] { return concat("reducing an evaluation (step ", step, ")"); });
  Evaluation evaluation;
  evaluation.tokens = static_cast<std::int64_t>(sums[1]);
  evaluation.loss = sums[0] / sums[1];
  if (sums[2] > 0) evaluation.bits_per_byte = sums[0] / std::numbers::ln2 / sums[2];
  return evaluation;
}

}  // namespace seq1f1b::train

#include "core/train/samples.h"

#include <algorithm>

#include "core/config/split.h"
#include "kernels/common/errors.h"

namespace seq1f1b::train {
namespace {

data::DatasetSpec dataset_spec(const config::Config& config, data::Split split) {
  data::DatasetSpec spec;
  spec.proportions = config::split_proportions(config.data.split);
  spec.split = split;
  spec.seq_length = config.training.seq_length;
  spec.seed = config.training.seed;
  return spec;
}

}  // namespace

Samples::Samples(const config::Config& config, const data::Progress& progress)
    : seq_length_(config.training.seq_length),
      batch_(config.training.global_batch_size),
      files_(
          std::make_shared<data::TokenFiles>(config.data.train, config.model.vocab_size, progress)),
      training_(files_, dataset_spec(config, data::Split::kTrain)),
      validation_(files_, dataset_spec(config, data::Split::kValidation)) {
  training_.require_windows();
}

std::size_t Samples::batch_tokens() const { return static_cast<std::size_t>(batch_ * window()); }

void Samples::training_batch(std::int64_t consumed, std::span<std::int32_t> output) const {
  files_->require_whole();
  for (std::int64_t i = 0; i < batch_; ++i)
    training_.sample(consumed + i, output.subspan(static_cast<std::size_t>(i * window()),
                                                  static_cast<std::size_t>(window())));
}

std::int64_t Samples::evaluation_batches(std::int64_t wanted) const {
  const std::int64_t all = (validation_.windows() + batch_ - 1) / batch_;
  return wanted == 0 ? all : std::min(wanted, all);
}

void Samples::evaluation_batch(std::int64_t index, std::span<std::int32_t> output) const {
  files_->require_whole();
  for (std::int64_t i = 0; i < batch_; ++i) {
    const auto target =
        output.subspan(static_cast<std::size_t>(i * window()), static_cast<std::size_t>(window()));
    const std::int64_t sample = index * batch_ + i;
    if (sample < validation_.windows())
      validation_.sample(sample, target);
    else
      std::fill(target.begin(), target.end(), -1);
  }
}

LabelCount count_labels(std::span<const std::int32_t> batch, std::int64_t seq_length,
                        const data::Tokenizer* tokenizer) {
  LabelCount count;
  const auto window = static_cast<std::size_t>(seq_length + 1);
  for (std::size_t i = 0; i < batch.size(); ++i) {
    if (i % window == 0 || batch[i] < 0) continue;  // the first token of a window is no label
    ++count.tokens;
    if (tokenizer) count.bytes += tokenizer->token_bytes(batch[i]);
  }
  return count;
}

}  // namespace seq1f1b::train

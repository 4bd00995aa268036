#pragma once
// The samples of training steps and evaluations of one run, for the ranks that read them.
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/config/config.h"
#include "core/data/dataset.h"
#include "core/data/tokenizer.h"

namespace seq1f1b::train {

class Samples {
 public:
  // `config` with a known vocabulary. Opens and examines the files (data::TokenFiles). Throws
  // ConfigError and DataError, also where the training share holds no window.
  explicit Samples(const config::Config& config, const data::Progress& progress = {});

  const data::TokenFiles& files() const { return *files_; }
  const data::Dataset& training() const { return training_; }
  const data::Dataset& validation() const { return validation_; }  // may hold no window

  // Tokens of a batch: global_batch_size * (seq_length + 1).
  std::size_t batch_tokens() const;

  // The samples [consumed, consumed + global_batch_size) of the training share. Throws DataError
  // where the files have changed so that they cannot be read any more; so does evaluation_batch.
  void training_batch(std::int64_t consumed, std::span<std::int32_t> output) const;

  // Batches of an evaluation over the validation share: `wanted`, or all when 0 or more than all;
  // 0 when the validation share holds no window.
  std::int64_t evaluation_batches(std::int64_t wanted) const;
  // Batch `index` in order; positions beyond the end of the share are -1, which the loss ignores.
  void evaluation_batch(std::int64_t index, std::span<std::int32_t> output) const;

 private:
  std::int64_t window() const { return seq_length_ + 1; }

  std::int64_t seq_length_, batch_;
  std::shared_ptr<const data::TokenFiles> files_;
  data::Dataset training_, validation_;
};

// Bytes of text that the labels of a batch stand for, and how many labels there are.
struct LabelCount {
  std::int64_t tokens = 0, bytes = 0;
};
LabelCount count_labels(std::span<const std::int32_t> batch, std::int64_t seq_length,
                        const data::Tokenizer* tokenizer);

}  // namespace seq1f1b::train

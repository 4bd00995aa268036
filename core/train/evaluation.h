#pragma once
// Loss over the validation share.
#include <cstdint>
#include <optional>
#include <span>

#include "core/comm/group.h"
#include "core/config/config.h"
#include "core/data/tokenizer.h"
#include "core/runtime/rank_runtime.h"
#include "core/train/samples.h"

namespace seq1f1b::train {

struct Evaluation {
  double loss = 0;           // mean over its tokens, nats
  double bits_per_byte = 0;  // 0 without a tokenizer
  std::int64_t tokens = 0;
};

class Evaluator {
 public:
  // `samples`: null where neither embedding nor head is; `batch`: room for a batch of theirs, used
  // during run(); `tokenizer`: null where there is none. All outlive the evaluator. Collective.
  Evaluator(const config::Config& config, runtime::RankRuntime& runtime, const Samples* samples,
            std::span<std::int32_t> batch, const data::Tokenizer* tokenizer, comm::Group& all);

  // Batches of an evaluation; 0: the validation share holds no window.
  std::int64_t batches() const { return batches_; }
  // Nothing where there are no batches. `step`: for messages. Throws an AgreedError where the
  // samples cannot be read. Collective.
  std::optional<Evaluation> run(std::int64_t step);

 private:
  runtime::RankRuntime& runtime_;
  const Samples* samples_;
  std::span<std::int32_t> batch_;
  const data::Tokenizer* tokenizer_;
  comm::Group& all_;
  std::int64_t seq_length_;
  std::int64_t batches_ = 0;
};

}  // namespace seq1f1b::train

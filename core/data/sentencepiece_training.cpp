#include <sentencepiece_trainer.h>

#include <algorithm>
#include <charconv>

#include "core/data/corpus.h"
#include "core/data/runs.h"
#include "core/data/tokenizer.h"
#include "core/data/tokenizer_json.h"
#include "kernels/common/errors.h"

namespace seq1f1b::data {
namespace {

// More text than this changes the pieces little and costs minutes; of longer texts every n-th run
// is taken.
constexpr std::size_t kTrainingBytes = std::size_t{64} << 20;

// The runs of clean text of every document, as the "sentences" that sentencepiece trains on.
class Sentences final : public sentencepiece::SentenceIterator {
 public:
  Sentences(std::string_view text, std::string_view document_separator) {
    const std::size_t stride = text.size() / kTrainingBytes + 1;
    std::size_t count = 0;
    DocumentReader reader(text, document_separator);
    for (std::string_view document; reader.next(document);) {
      while (!document.empty()) {
        const Run run = next_run(document);
        document.remove_prefix(run.bytes.size());
        if (run.is_text && count++ % stride == 0) runs_.push_back(run.bytes);
      }
    }
    load();
  }

  bool done() const override { return position_ == runs_.size(); }
  void Next() override {
    ++position_;
    load();
  }
  const std::string& value() const override { return current_; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  void load() {
    if (!done()) current_.assign(runs_[position_]);
  }

  std::vector<std::string_view> runs_;
  std::size_t position_ = 0;
  std::string current_;
};

// The number that follows `marker` in `message`, or -1.
int number_after(const std::string& message, std::string_view marker) {
  int number = -1;
  const std::size_t at = message.find(marker);
  if (at != std::string::npos)
    std::from_chars(message.data() + at + marker.size(), message.data() + message.size(), number);
  return number;
}

// sentencepiece speaks of its own options; the two faults a user can make are said in ours.
std::string explain(const std::string& message, int vocab_size) {
  if (message.find("too high") != std::string::npos)
    if (const int most = number_after(message, "<= "); most > 0)
      return concat("a vocabulary of ", vocab_size,
                    " is too large for this text, which yields at most ", most, " tokens");
  if (message.find("required_chars") != std::string::npos)
    if (const int least = number_after(message, " vs "); least > 0)
      return concat("a vocabulary of ", vocab_size,
                    " is too small for this text, which needs at least ", least,
                    " tokens: 256 bytes, 2 marks and its frequent characters");
  return concat("sentencepiece cannot be trained on this text: ", message);
}

}  // namespace

std::unique_ptr<Tokenizer> train_sentencepiece(std::string_view text, int vocab_size,
                                               const std::string& document_separator, int threads) {
  check_separator(document_separator);
  Sentences sentences(text, document_separator);
  if (sentences.done())
    throw DataError("sentencepiece cannot be trained: there is no UTF-8 text in the input");
  std::string model;
  // Piece 0 is sentencepiece's obligatory "unknown" (never produced here), piece 1 our end of
  // document. minloglevel 2: errors only, and those come back as a status.
  const auto status = sentencepiece::SentencePieceTrainer::Train(
      {{"model_type", "bpe"},
       {"vocab_size", std::to_string(vocab_size)},
       {"byte_fallback", "true"},
       {"normalization_rule_name", "identity"},
       {"remove_extra_whitespaces", "false"},
       {"add_dummy_prefix", "false"},
       {"unk_id", "0"},
       {"eos_id", "1"},
       {"bos_id", "-1"},
       {"pad_id", "-1"},
       {"num_threads", std::to_string(std::max(threads, 1))},
       {"minloglevel", "2"}},
      &sentences, &model);
  if (!status.ok()) throw DataError(explain(status.ToString(), vocab_size));
  return sentencepiece_from_model(std::move(model), "trained model", document_separator);
}

}  // namespace seq1f1b::data

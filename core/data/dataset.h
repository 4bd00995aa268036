#pragma once
// Windows of seq_length + 1 tokens out of one share (train, validation, test) of token files, in an
// order that depends on the seed and the sample number alone. Position in the data is one number:
// the count of samples consumed.
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/data/shares.h"
#include "core/data/token_file.h"

namespace seq1f1b::data {

struct DatasetSpec {
  std::vector<std::string> prefixes;
  Shares shares{949, 50, 1};  // of the documents, after a shuffle by seed
  Share share = Share::kTrain;
  std::int64_t seq_length = 0;
  std::uint64_t seed = 0;
  int vocab_size = 0;
};

class Dataset {
 public:
  // Throws DataError: files unreadable, or too few tokens in the share for one window (says how
  // many there are and how many are needed).
  explicit Dataset(const DatasetSpec& spec);
  ~Dataset();
  Dataset(Dataset&&) noexcept;

  std::int64_t documents() const;
  std::int64_t tokens() const;
  // Windows in one epoch: (tokens - 1) / seq_length. Window i + 1 starts on the last token of i.
  std::int64_t windows() const;
  // Sample `index` (>= 0, any epoch): epoch = index / windows(); within an epoch a permutation of
  // all windows drawn from (seed, epoch). Share::kValidation and kTest are read in order,
  // unshuffled. output: seq_length + 1 tokens.
  void sample(std::int64_t index, std::span<std::int32_t> output) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace seq1f1b::data

#pragma once
// Windows of seq_length + 1 tokens out of one share (train, validation, test) of token files, in an
// order that depends on the seed and the sample number alone. Position in the data is one number:
// the count of samples consumed.
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/data/split.h"
#include "core/data/token_files.h"

namespace seq1f1b::data {

struct DatasetSpec {
  std::vector<std::string> prefixes;
  SplitProportions proportions{949, 50, 1};  // of the documents, after a shuffle by seed
  Split split = Split::kTrain;
  std::int64_t seq_length = 0;
  std::uint64_t seed = 0;
  int vocab_size = 0;
};

class Dataset {
 public:
  // Opens the files. Throws what TokenFiles does.
  explicit Dataset(const DatasetSpec& spec);
  // Of files that are open; those of the spec are not looked at.
  Dataset(std::shared_ptr<const TokenFiles> files, const DatasetSpec& spec);
  ~Dataset();
  Dataset(Dataset&&) noexcept;

  std::int64_t documents() const;
  std::int64_t tokens() const;
  // Windows in one epoch: (tokens - 1) / seq_length, 0 where the share is too small for one. Window
  // i + 1 starts on the last token of i.
  std::int64_t windows() const;
  // Throws DataError where there is no window; says how many tokens there are and how many are
  // needed.
  void require_windows() const;
  // Sample `index` (>= 0, any epoch) of a share that has windows: epoch = index / windows(); within
  // an epoch a permutation of all windows drawn from (seed, epoch). Split::kValidation and kTest
  // are read in order, unshuffled. output: seq_length + 1 tokens.
  void sample(std::int64_t index, std::span<std::int32_t> output) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace seq1f1b::data

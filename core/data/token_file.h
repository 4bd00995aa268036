#pragma once
// Megatron's indexed dataset: PREFIX.bin holds tokens back to back, PREFIX.idx lengths and offsets
// of the documents. Layout as written by Megatron-LM (megatron/core/datasets/indexed_dataset.py):
// little-endian; 9-byte magic "MMIDIDX\0\0", u64 version 1, u8 dtype code, u64 sequences, u64
// entries of the document array, i32 lengths, i64 byte offsets, i64 document array. One sequence
// per document here.
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/files.h"
#include "core/data/corpus_record.h"

namespace seq1f1b::data {

class Tokenizer;

// Writes under names of its own, which replace the prefix's together when all is complete
// (publication.h). Any number of writers may write one prefix at once: the last to finish counts.
class TokenFileWriter {
 public:
  // `observer` sees every step on the disk; tests stop there. Throws DataError.
  TokenFileWriter(const std::string& prefix, int vocab_size, base::DiskObserver observer = {});
  ~TokenFileWriter();  // without finish(): removes the temporary files
  void add_document(std::span<const std::int32_t> tokens);
  // With a tokenizer, PREFIX.tokenizer.json goes with the two, with a record of them
  // (corpus_record.h); else the prefix has none afterwards. Throws DataError, and then the prefix's
  // old files are as they were.
  void finish(const Tokenizer* tokenizer = nullptr);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Called between the parts of a long reading, with what comes next, e.g. "reading a/x.bin, 2 of 9
// GiB".
using Progress = std::function<void(const std::string&)>;

// A file of at most so many bytes is compared with its record as a whole, a larger one in pieces.
inline constexpr std::int64_t kWholeCheckBytes = std::int64_t{1} << 30;

// Maps both files. Throws DataError with file and byte offset for anything truncated, misplaced or
// of an unknown kind, and where a preparation of the prefix has not finished. Reads dtypes uint8,
// int8, int16, uint16, int32, int64.
class TokenFile {
 public:
  explicit TokenFile(const std::string& prefix);
  ~TokenFile();
  TokenFile(TokenFile&&) noexcept;
  TokenFile& operator=(TokenFile&&) noexcept;

  const std::string& prefix() const;
  std::int64_t documents() const;
  std::int64_t document_tokens(std::int64_t document) const;
  std::int64_t tokens() const;
  // What the files are. Where prepare has left a record, they are compared with it: the index, and
  // the tokens as kWholeCheckBytes says. Where there is none, all tokens are read. Throws DataError
  // where the record is of other files.
  CorpusIdentity examine(const Progress& progress = {},
                         std::int64_t whole_check_bytes = kWholeCheckBytes) const;
  // Throws DataError naming file and byte offset of the first token < 0 or >= vocab_size, if any.
  // Reads all of them.
  void require_within(int vocab_size, const Progress& progress = {}) const;
  // Throws DataError where a file has become shorter since it was opened.
  void require_whole() const;
  // Tokens [first, first + output.size()) of a document. Throws DataError naming file and byte
  // offset for a token < 0 or >= vocab_size.
  void read(std::int64_t document, std::int64_t first, int vocab_size,
            std::span<std::int32_t> output) const;

 private:
  struct Mapping;
  std::unique_ptr<Mapping> mapping_;
};

}  // namespace seq1f1b::data

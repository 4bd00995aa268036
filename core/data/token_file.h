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

namespace seq1f1b::data {

// Writes both files under temporary names and renames them when complete.
class TokenFileWriter {
 public:
  TokenFileWriter(const std::string& prefix, int vocab_size);
  ~TokenFileWriter();  // without finish(): removes the temporary files
  void add_document(std::span<const std::int32_t> tokens);
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Maps both files. Throws DataError with file and byte offset for anything truncated, misplaced or
// of an unknown kind. Reads dtypes uint8, int8, int16, uint16, int32, int64.
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
  // Tokens [first, first + output.size()) of a document. Throws DataError naming file and byte
  // offset for a token < 0 or >= vocab_size.
  void read(std::int64_t document, std::int64_t first, int vocab_size,
            std::span<std::int32_t> output) const;

 private:
  struct Mapping;
  std::unique_ptr<Mapping> mapping_;
};

}  // namespace seq1f1b::data

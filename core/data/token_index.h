#pragma once
// The layout of PREFIX.idx, shared by the writer and the reader. Private to core/data.
// Source: Megatron-LM, megatron/core/datasets/indexed_dataset.py.
#include <bit>
#include <cstdint>
#include <string_view>

namespace seq1f1b::data {

static_assert(std::endian::native == std::endian::little,
              "token files are read and written in place");

//   offset        bytes  field
//   0             9      magic
//   9             8      u64 version
//   17            1      u8  dtype code
//   18            8      u64 S, sequences
//   26            8      u64 D, entries of the document array
//   34            4 S    i32 tokens of each sequence
//   34 + 4 S      8 S    i64 byte offset of each sequence in PREFIX.bin
//   34 + 12 S     8 D    i64 first sequence of each document, then S
// Nothing after the magic is aligned.
inline constexpr std::string_view kMagic{"MMIDIDX\0\0", 9};
inline constexpr std::uint64_t kIndexVersion = 1;
inline constexpr std::int64_t kVersionOffset = 9;
inline constexpr std::int64_t kDtypeOffset = 17;
inline constexpr std::int64_t kSequencesOffset = 18;
inline constexpr std::int64_t kDocumentsOffset = 26;
inline constexpr std::int64_t kHeaderBytes = 34;

enum class TokenDtype : std::uint8_t {
  kUint8 = 1,
  kInt8 = 2,
  kInt16 = 3,
  kInt32 = 4,
  kInt64 = 5,
  kUint16 = 8,  // 6 and 7 are floating-point types
};

// 0 for a code that holds no tokens.
constexpr std::int64_t dtype_bytes(TokenDtype dtype) {
  switch (dtype) {
    case TokenDtype::kUint8:
    case TokenDtype::kInt8:
      return 1;
    case TokenDtype::kInt16:
    case TokenDtype::kUint16:
      return 2;
    case TokenDtype::kInt32:
      return 4;
    case TokenDtype::kInt64:
      return 8;
  }
  return 0;
}

// Megatron's writer: 16 bits below this vocabulary size, else 32.
inline constexpr int kFirstWideVocabulary = 65500;

}  // namespace seq1f1b::data

#include "core/data/token_file.h"

#include <algorithm>
#include <cstring>

#include "core/base/mapped_file.h"
#include "core/data/token_index.h"
#include "kernels/common/errors.h"

namespace seq1f1b::data {
namespace {

// The files are packed without alignment.
template <class Value>
Value load(const std::byte* base, std::int64_t offset) {
  Value value;
  std::memcpy(&value, base + offset, sizeof value);
  return value;
}

template <class... Parts>
[[noreturn]] void refuse(const std::string& path, std::int64_t offset, const Parts&... what) {
  throw DataError(concat(path, ": at byte ", offset, ": ", what...));
}

// Copies tokens and returns the first one outside [0, vocab_size), or -1. Unsigned comparison sees
// negative ones too.
template <class Token>
std::int64_t copy_tokens(const std::byte* from, std::uint64_t vocab_size,
                         std::span<std::int32_t> output) {
  std::int64_t outside = -1;
  for (std::size_t i = 0; i < output.size(); ++i) {
    const auto token =
        static_cast<std::uint64_t>(load<Token>(from, static_cast<std::int64_t>(i * sizeof(Token))));
    if (token >= vocab_size) [[unlikely]] {
      outside = static_cast<std::int64_t>(i);
      break;
    }
    output[i] = static_cast<std::int32_t>(token);
  }
  return outside;
}

std::int64_t read_value(const std::byte* from, TokenDtype dtype) {
  switch (dtype) {
    case TokenDtype::kUint8:
      return load<std::uint8_t>(from, 0);
    case TokenDtype::kInt8:
      return load<std::int8_t>(from, 0);
    case TokenDtype::kInt16:
      return load<std::int16_t>(from, 0);
    case TokenDtype::kInt32:
      return load<std::int32_t>(from, 0);
    case TokenDtype::kInt64:
      return load<std::int64_t>(from, 0);
    case TokenDtype::kUint16:
      return load<std::uint16_t>(from, 0);
  }
  return 0;
}

}  // namespace

struct TokenFile::Mapping {
  explicit Mapping(const std::string& path_prefix)
      : prefix(path_prefix), index(path_prefix + ".idx"), content(path_prefix + ".bin") {
    check_header();
    check_sequences();
    check_documents();
  }

  std::int64_t index_size() const { return static_cast<std::int64_t>(index.bytes().size()); }
  std::int64_t content_size() const { return static_cast<std::int64_t>(content.bytes().size()); }
  std::int64_t length(std::int64_t sequence) const {
    return load<std::int32_t>(index.bytes().data(), kHeaderBytes + 4 * sequence);
  }
  std::int64_t offset(std::int64_t sequence) const {
    return sequence == sequences
               ? content_size()
               : load<std::int64_t>(index.bytes().data(), offsets_at + 8 * sequence);
  }
  std::int64_t first_sequence(std::int64_t document) const {
    return load<std::int64_t>(index.bytes().data(), documents_at + 8 * document);
  }
  // A document's sequences lie back to back, so it is one range of bytes.
  std::int64_t begin(std::int64_t document) const { return offset(first_sequence(document)); }

  void check_header() {
    const std::byte* bytes = index.bytes().data();
    if (index_size() < kHeaderBytes)
      refuse(index.path(), index_size(), "the file ends within its header of ", kHeaderBytes,
             " bytes");
    if (std::memcmp(bytes, kMagic.data(), kMagic.size()) != 0)
      refuse(index.path(), 0, "not a Megatron token index (magic MMIDIDX expected)");
    if (const auto version = load<std::uint64_t>(bytes, kVersionOffset); version != kIndexVersion)
      refuse(index.path(), kVersionOffset, "version ", version, "; this program reads version 1");
    dtype = load<TokenDtype>(bytes, kDtypeOffset);
    token_bytes = dtype_bytes(dtype);
    if (token_bytes == 0)
      refuse(index.path(), kDtypeOffset, "dtype code ", static_cast<int>(dtype),
             " holds no tokens (known: 1 uint8, 2 int8, 3 int16, 4 int32, 5 int64, 8 uint16)");
    // Compared before multiplied: a damaged count must not overflow.
    const auto room = static_cast<std::uint64_t>(index_size() - kHeaderBytes);
    const auto sequence_count = load<std::uint64_t>(bytes, kSequencesOffset);
    if (sequence_count > room / 12)
      refuse(index.path(), kSequencesOffset, "lists ", sequence_count, " sequences, the file's ",
             index_size(), " bytes hold at most ", room / 12, "; it is truncated or damaged");
    sequences = static_cast<std::int64_t>(sequence_count);
    offsets_at = kHeaderBytes + 4 * sequences;
    documents_at = kHeaderBytes + 12 * sequences;
    const auto entries = load<std::uint64_t>(bytes, kDocumentsOffset);
    const auto room_entries = static_cast<std::uint64_t>(index_size() - documents_at) / 8;
    if (entries < 1 || entries > room_entries)
      refuse(index.path(), kDocumentsOffset, "lists ", entries, " document entries, the file's ",
             index_size(), " bytes hold 1 to ", room_entries, "; it is truncated or damaged");
    documents = static_cast<std::int64_t>(entries) - 1;
    if (const std::int64_t end = documents_at + 8 * (documents + 1); end != index_size())
      refuse(index.path(), end, "the index should end here, the file has ", index_size() - end,
             " bytes more (indices with modes of multimodal data are not read)");
  }

  void check_sequences() const {
    std::int64_t expected = 0;
    for (std::int64_t i = 0; i < sequences; ++i) {
      if (length(i) < 0)
        refuse(index.path(), kHeaderBytes + 4 * i, "sequence ", i, " has ", length(i), " tokens");
      if (offset(i) != expected)
        refuse(index.path(), offsets_at + 8 * i, "sequence ", i, " starts at byte ", offset(i),
               " of the tokens; the lengths before it say ", expected);
      expected += length(i) * token_bytes;
    }
    if (expected > content_size())
      refuse(content.path(), content_size(), "the file ends; its index lists ", expected,
             " bytes of tokens, so it is truncated or belongs to another index");
    if (expected < content_size())
      refuse(content.path(), expected, "the tokens should end here, the file has ",
             content_size() - expected, " bytes more, so it belongs to another index");
  }

  void check_documents() const {
    const auto at = [this](std::int64_t i) { return documents_at + 8 * i; };
    if (first_sequence(0) != 0)
      refuse(index.path(), at(0), "the first document starts with sequence ", first_sequence(0),
             " instead of 0");
    for (std::int64_t i = 1; i <= documents; ++i)
      if (first_sequence(i) < first_sequence(i - 1) || first_sequence(i) > sequences)
        refuse(index.path(), at(i), "document ", i - 1, " ends before sequence ", first_sequence(i),
               ", not between ", first_sequence(i - 1), " and ", sequences);
    if (first_sequence(documents) != sequences)
      refuse(index.path(), at(documents), "the documents end before sequence ",
             first_sequence(documents), ", the file has ", sequences);
  }

  std::string prefix;
  base::MappedFile index;
  base::MappedFile content;
  TokenDtype dtype = TokenDtype::kUint16;
  std::int64_t token_bytes = 0;
  std::int64_t sequences = 0;
  std::int64_t documents = 0;
  std::int64_t offsets_at = 0;    // byte in the index
  std::int64_t documents_at = 0;  // byte in the index
};

TokenFile::TokenFile(const std::string& prefix) : mapping_(std::make_unique<Mapping>(prefix)) {}
TokenFile::~TokenFile() = default;
TokenFile::TokenFile(TokenFile&&) noexcept = default;
TokenFile& TokenFile::operator=(TokenFile&&) noexcept = default;

const std::string& TokenFile::prefix() const { return mapping_->prefix; }
std::int64_t TokenFile::documents() const { return mapping_->documents; }
std::int64_t TokenFile::tokens() const { return mapping_->content_size() / mapping_->token_bytes; }

std::int64_t TokenFile::document_tokens(std::int64_t document) const {
  SEQ1F1B_ASSERT(document >= 0 && document < documents(), "document ", document, " of ",
                 documents());
  return (mapping_->begin(document + 1) - mapping_->begin(document)) / mapping_->token_bytes;
}

void TokenFile::read(std::int64_t document, std::int64_t first, int vocab_size,
                     std::span<std::int32_t> output) const {
  const auto count = static_cast<std::int64_t>(output.size());
  SEQ1F1B_ASSERT(first >= 0 && first + count <= document_tokens(document), "tokens ", first, " to ",
                 first + count, " of ", document_tokens(document));
  const Mapping& file = *mapping_;
  const std::int64_t begin = file.begin(document) + first * file.token_bytes;
  const std::byte* from = file.content.bytes().data() + begin;
  const auto limit = static_cast<std::uint64_t>(std::max(vocab_size, 0));
  std::int64_t outside = -1;
  switch (file.dtype) {
    case TokenDtype::kUint8:
      outside = copy_tokens<std::uint8_t>(from, limit, output);
      break;
    case TokenDtype::kInt8:
      outside = copy_tokens<std::int8_t>(from, limit, output);
      break;
    case TokenDtype::kInt16:
      outside = copy_tokens<std::int16_t>(from, limit, output);
      break;
    case TokenDtype::kInt32:
      outside = copy_tokens<std::int32_t>(from, limit, output);
      break;
    case TokenDtype::kInt64:
      outside = copy_tokens<std::int64_t>(from, limit, output);
      break;
    case TokenDtype::kUint16:
      outside = copy_tokens<std::uint16_t>(from, limit, output);
      break;
  }
  if (outside >= 0)
    refuse(file.content.path(), begin + outside * file.token_bytes, "token ",
           read_value(from + outside * file.token_bytes, file.dtype), " in a vocabulary of ",
           vocab_size, "; was the file made with another tokenizer?");
}

}  // namespace seq1f1b::data

#include "core/data/token_file.h"

#include <algorithm>
#include <cstring>

#include "core/base/checksum.h"
#include "core/base/mapped_file.h"
#include "core/base/text.h"
#include "core/data/token_index.h"
#include "core/data/tokenizer_json.h"
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

// The largest of `bytes` as a token; a negative one counts as larger than any vocabulary.
template <class Token>
std::uint64_t largest_token(std::span<const std::byte> bytes) {
  std::uint64_t largest = 0;
  for (std::size_t at = 0; at + sizeof(Token) <= bytes.size(); at += sizeof(Token))
    largest = std::max(largest, static_cast<std::uint64_t>(
                                    load<Token>(bytes.data(), static_cast<std::int64_t>(at))));
  return largest;
}

// Of a token's type, for the sake of a dtype known at run time.
template <class Body>
decltype(auto) with_type(TokenDtype dtype, const Body& body) {
  switch (dtype) {
    case TokenDtype::kUint8:
      return body(std::uint8_t{});
    case TokenDtype::kInt8:
      return body(std::int8_t{});
    case TokenDtype::kInt16:
      return body(std::int16_t{});
    case TokenDtype::kInt32:
      return body(std::int32_t{});
    case TokenDtype::kInt64:
      return body(std::int64_t{});
    case TokenDtype::kUint16:
      return body(std::uint16_t{});
  }
  SEQ1F1B_ASSERT(false, "dtype code ", static_cast<int>(dtype));
}

// What is read between two words of progress; a multiple of every token's size.
constexpr std::size_t kBlockBytes = std::size_t{16} << 20;

std::int64_t read_value(const std::byte* from, TokenDtype dtype) {
  return with_type(
      dtype, [&](auto token) { return static_cast<std::int64_t>(load<decltype(token)>(from, 0)); });
}

}  // namespace

struct TokenFile::Mapping {
  // The record first: it is there before files that are being replaced are.
  explicit Mapping(const std::string& path_prefix)
      : prefix(path_prefix),
        record(read_record(path_prefix)),
        index(path_prefix + ".idx", base::MappedFile::Keep::kFile),
        content(path_prefix + ".bin", base::MappedFile::Keep::kFile) {
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

  // The tokens from byte `begin` on.
  void copy(std::int64_t begin, int vocab_size, std::span<std::int32_t> output) const {
    const std::byte* from = content.bytes().data() + begin;
    const auto limit = static_cast<std::uint64_t>(std::max(vocab_size, 0));
    const std::int64_t outside = with_type(
        dtype, [&](auto token) { return copy_tokens<decltype(token)>(from, limit, output); });
    if (outside >= 0)
      refuse(content.path(), begin + outside * token_bytes, "token ",
             read_value(from + outside * token_bytes, dtype), " in a vocabulary of ", vocab_size,
             "; was the file made with another tokenizer?");
  }

  // Calls body(block) for the tokens in pieces, from front to back.
  void read_all(const Progress& progress,
                const std::function<void(std::span<const std::byte>)>& body) const {
    const auto bytes = content.bytes();
    for (std::size_t at = 0; at < bytes.size(); at += kBlockBytes) {
      if (progress)
        progress(concat("reading ", content.path(), ", ", base::bytes_text(at), " of ",
                        base::bytes_text(bytes.size())));
      body(bytes.subspan(at, std::min(kBlockBytes, bytes.size() - at)));
    }
  }

  template <class... Parts>
  [[noreturn]] void refuse_record(const std::string& path, const Parts&... what) const {
    throw DataError(concat(path, ": ", what..., " ", tokenizer_path(prefix),
                           " says of it: the three "
                           "files of ",
                           prefix, " do not belong together; prepare them again"));
  }

  std::string prefix;
  std::optional<CorpusRecord> record;
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

CorpusIdentity TokenFile::examine(const Progress& progress, std::int64_t whole_check_bytes) const {
  const Mapping& file = *mapping_;
  const std::optional<CorpusRecord>& record = file.record;
  CorpusIdentity found;
  found.documents = documents();
  found.tokens = tokens();
  base::Checksum of_index;
  of_index.update(file.index.bytes());
  found.index_checksum = of_index.hex();
  if (record) {
    const CorpusIdentity& noted = record->identity;
    if (noted.documents != found.documents || noted.tokens != found.tokens)
      file.refuse_record(file.index.path(), "has ", found.documents, " documents of ", found.tokens,
                         " tokens, not the ", noted.documents, " of ", noted.tokens, " that");
    if (noted.index_checksum != found.index_checksum)
      file.refuse_record(file.index.path(), "its checksum is ", found.index_checksum, ", not the ",
                         noted.index_checksum, " that");
    if (file.content_size() > whole_check_bytes) {
      const std::string pieces = pieces_checksum(file.content.bytes());
      if (record->pieces_checksum != pieces)
        file.refuse_record(file.content.path(), "the checksum of its pieces is ", pieces,
                           ", not the ", record->pieces_checksum, " that");
      return noted;
    }
  }
  base::Checksum of_content;
  std::uint64_t largest = 0;
  file.read_all(progress, [&](std::span<const std::byte> block) {
    of_content.update(block);
    largest = std::max(largest, with_type(file.dtype, [&](auto token) {
                         return largest_token<decltype(token)>(block);
                       }));
  });
  found.content_checksum = of_content.hex();
  // A negative token comes out as itself.
  found.largest_token = found.tokens == 0 ? -1 : static_cast<std::int64_t>(largest);
  if (record && record->identity.content_checksum != found.content_checksum)
    file.refuse_record(file.content.path(), "its checksum is ", found.content_checksum,
                       ", not the ", record->identity.content_checksum, " that");
  return found;
}

void TokenFile::require_whole() const {
  mapping_->index.require_whole();
  mapping_->content.require_whole();
}

void TokenFile::require_within(int vocab_size, const Progress& progress) const {
  const Mapping& file = *mapping_;
  std::vector<std::int32_t> tokens;
  std::int64_t begin = 0;
  file.read_all(progress, [&](std::span<const std::byte> block) {
    tokens.resize(block.size() / static_cast<std::size_t>(file.token_bytes));
    file.copy(begin, vocab_size, tokens);
    begin += static_cast<std::int64_t>(block.size());
  });
}

void TokenFile::read(std::int64_t document, std::int64_t first, int vocab_size,
                     std::span<std::int32_t> output) const {
  const auto count = static_cast<std::int64_t>(output.size());
  SEQ1F1B_ASSERT(first >= 0 && first + count <= document_tokens(document), "tokens ", first, " to ",
                 first + count, " of ", document_tokens(document));
  mapping_->copy(mapping_->begin(document) + first * mapping_->token_bytes, vocab_size, output);
}

}  // namespace seq1f1b::data

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <limits>

#include "core/base/checksum.h"
#include "core/base/mapped_file.h"
#include "core/data/publication.h"
#include "core/data/token_file.h"
#include "core/data/token_index.h"
#include "core/data/tokenizer.h"
#include "core/data/tokenizer_json.h"
#include "kernels/common/errors.h"

namespace seq1f1b::data {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{1} << 20;

template <class Value>
void append(std::string& bytes, Value value) {
  const auto old_size = bytes.size();
  bytes.resize(old_size + sizeof value);
  std::memcpy(bytes.data() + old_size, &value, sizeof value);
}

}  // namespace

struct TokenFileWriter::State {
  State(const std::string& path_prefix, int vocabulary, base::DiskObserver observer)
      : prefix(path_prefix),
        vocab_size(vocabulary),
        wide(vocabulary >= kFirstWideVocabulary),
        disk(std::move(observer)),
        draft(disk, prefix) {}

  void flush() {
    const std::string_view bytes = buffer;
    draft.content().write(bytes);
    checksum.update(std::as_bytes(std::span(bytes)));
    buffer.clear();
  }

  // Of what was to be written, whatever the disk has made of it.
  CorpusRecord record(const std::string& index_text) const {
    CorpusRecord record;
    record.identity.documents = static_cast<std::int64_t>(lengths.size());
    for (const std::int32_t length : lengths) record.identity.tokens += length;
    record.identity.largest_token = largest;
    record.identity.index_checksum = base::text_checksum(index_text);
    record.identity.content_checksum = checksum.hex();
    record.pieces_checksum = pieces_checksum(base::MappedFile(draft.name() + ".bin").bytes());
    return record;
  }

  std::string index() const {
    std::string bytes(kMagic);
    append(bytes, kIndexVersion);
    append(bytes, wide ? TokenDtype::kInt32 : TokenDtype::kUint16);
    append(bytes, static_cast<std::uint64_t>(lengths.size()));
    append(bytes, static_cast<std::uint64_t>(lengths.size() + 1));
    for (const std::int32_t length : lengths) append(bytes, length);
    std::int64_t offset = 0;
    for (const std::int32_t length : lengths) {
      append(bytes, offset);
      offset += std::int64_t{length} * (wide ? 4 : 2);
    }
    for (std::size_t i = 0; i <= lengths.size(); ++i) append(bytes, static_cast<std::int64_t>(i));
    return bytes;
  }

  std::string prefix;
  int vocab_size;
  bool wide;  // int32, else uint16
  base::Disk disk;
  Draft draft;
  std::string buffer;
  base::Checksum checksum;  // of the tokens flushed
  std::int32_t largest = -1;
  std::vector<std::int32_t> lengths;
};

TokenFileWriter::TokenFileWriter(const std::string& prefix, int vocab_size,
                                 base::DiskObserver observer)
    : state_(std::make_unique<State>(prefix, vocab_size, std::move(observer))) {}

TokenFileWriter::~TokenFileWriter() = default;

void TokenFileWriter::add_document(std::span<const std::int32_t> tokens) {
  State& state = *state_;
  if (tokens.size() > std::numeric_limits<std::int32_t>::max())
    throw DataError(concat(state.prefix, ": document ", state.lengths.size(), " has ",
                           tokens.size(), " tokens; the format ends at 2^31 - 1"));
  for (const std::int32_t token : tokens) {
    SEQ1F1B_ASSERT(token >= 0 && token < state.vocab_size, "token ", token, " of ",
                   state.vocab_size);
    state.largest = std::max(state.largest, token);
    if (state.wide)
      append(state.buffer, token);
    else
      append(state.buffer, static_cast<std::uint16_t>(token));
    if (state.buffer.size() >= kBufferBytes) state.flush();
  }
  state.lengths.push_back(static_cast<std::int32_t>(tokens.size()));
}

void TokenFileWriter::finish(const Tokenizer* tokenizer) {
  State& state = *state_;
  state.flush();
  state.draft.content().finish();
  const std::string index = state.index();
  state.disk.write_file(state.draft.name() + ".idx", index);
  if (tokenizer != nullptr)
    state.disk.write_file(state.draft.name() + kTokenizerEnding,
                          with_record(tokenizer->to_json(), state.record(index)));
  publish(state.disk, state.draft.name(), state.prefix, tokenizer != nullptr);
}

}  // namespace seq1f1b::data

#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <filesystem>
#include <limits>
#include <optional>

#include "core/base/files.h"
#include "core/data/token_file.h"
#include "core/data/token_index.h"
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
  State(const std::string& path_prefix, int vocabulary)
      : prefix(path_prefix),
        // The process id keeps two runs with one prefix out of each other's way until the renames.
        temporary_prefix(concat(path_prefix, ".tmp.", ::getpid())),
        vocab_size(vocabulary),
        wide(vocabulary >= kFirstWideVocabulary) {}

  ~State() {
    std::error_code ignored;  // nothing to be done about it here
    std::filesystem::remove(temporary_prefix + ".bin", ignored);
    std::filesystem::remove(temporary_prefix + ".idx", ignored);
  }

  void flush() {
    tokens_file->write(buffer);
    buffer.clear();
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
  std::string temporary_prefix;
  int vocab_size;
  bool wide;  // int32, else uint16
  base::Disk disk;
  std::optional<base::OutputFile> tokens_file;
  std::string buffer;
  std::vector<std::int32_t> lengths;
};

TokenFileWriter::TokenFileWriter(const std::string& prefix, int vocab_size)
    : state_(std::make_unique<State>(prefix, vocab_size)) {
  state_->tokens_file.emplace(state_->disk, state_->temporary_prefix + ".bin");
}

TokenFileWriter::~TokenFileWriter() = default;

void TokenFileWriter::add_document(std::span<const std::int32_t> tokens) {
  State& state = *state_;
  if (tokens.size() > std::numeric_limits<std::int32_t>::max())
    throw DataError(concat(state.prefix, ": document ", state.lengths.size(), " has ",
                           tokens.size(), " tokens; the format ends at 2^31 - 1"));
  for (const std::int32_t token : tokens) {
    SEQ1F1B_ASSERT(token >= 0 && token < state.vocab_size, "token ", token, " of ",
                   state.vocab_size);
    if (state.wide)
      append(state.buffer, token);
    else
      append(state.buffer, static_cast<std::uint16_t>(token));
    if (state.buffer.size() >= kBufferBytes) state.flush();
  }
  state.lengths.push_back(static_cast<std::int32_t>(tokens.size()));
}

void TokenFileWriter::finish() {
  State& state = *state_;
  state.flush();
  state.tokens_file->finish();
  state.disk.write_file(state.temporary_prefix + ".idx", state.index());
  // The index last: a reader that finds a new index finds the tokens it speaks of. An old index
  // with new tokens is refused by its sizes.
  state.disk.rename(state.temporary_prefix + ".bin", state.prefix + ".bin");
  state.disk.rename(state.temporary_prefix + ".idx", state.prefix + ".idx");
  const auto folder = std::filesystem::path(state.prefix).parent_path();
  state.disk.sync_directory(folder.empty() ? "." : folder.string());
}

}  // namespace seq1f1b::data

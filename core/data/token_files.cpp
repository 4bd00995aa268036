#include "core/data/token_files.h"

#include <algorithm>

#include "kernels/common/errors.h"

namespace seq1f1b::data {

TokenFiles::TokenFiles(const std::vector<std::string>& prefixes, int vocab_size,
                       const Progress& progress)
    : vocab_size_(vocab_size), first_document_{0} {
  if (prefixes.empty()) throw ConfigError("data.train names no token files");
  for (const std::string& prefix : prefixes) {
    const TokenFile& file = files_.emplace_back(prefix);
    const CorpusIdentity identity = file.examine(progress);
    // The file is searched for the place only where there is one to be named.
    if (identity.tokens > 0 && static_cast<std::uint64_t>(identity.largest_token) >=
                                   static_cast<std::uint64_t>(std::max(vocab_size, 0)))
      file.require_within(vocab_size, progress);
    const auto same = std::ranges::find(identities_, identity);
    if (same != identities_.end() && identity.tokens > 0)
      throw ConfigError(
          concat("data.train: ", prefixes[static_cast<std::size_t>(same - identities_.begin())],
                 " and ", prefix,
                 " are the same files or copies: their documents would be in training and in "
                 "validation; name one of them"));
    identities_.push_back(identity);
    first_document_.push_back(first_document_.back() + file.documents());
  }
}

TokenFiles::Place TokenFiles::locate(std::int64_t document) const {
  const auto next = std::ranges::upper_bound(first_document_, document);
  const auto file = static_cast<std::size_t>(next - first_document_.begin()) - 1;
  return {files_[file], document - first_document_[file]};
}

std::int64_t TokenFiles::document_tokens(std::int64_t document) const {
  const Place place = locate(document);
  return place.file.document_tokens(place.document);
}

void TokenFiles::require_whole() const {
  for (const TokenFile& file : files_) file.require_whole();
}

void TokenFiles::read(std::int64_t document, std::int64_t first,
                      std::span<std::int32_t> output) const {
  const Place place = locate(document);
  place.file.read(place.document, first, vocab_size_, output);
}

}  // namespace seq1f1b::data

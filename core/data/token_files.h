#pragma once
// The token files of one run, opened and looked through before anything is trained on them.
#include <cstdint>
#include <string>
#include <vector>

#include "core/data/token_file.h"

namespace seq1f1b::data {

// Documents are numbered through, in the order of the prefixes.
class TokenFiles {
 public:
  // Examines every file (TokenFile::examine). Throws DataError, also for a token outside the
  // vocabulary, and ConfigError where there are no prefixes or two of them are the same files,
  // under whatever names: a document would then be in two shares.
  TokenFiles(const std::vector<std::string>& prefixes, int vocab_size,
             const Progress& progress = {});

  // By prefix, in their order.
  const std::vector<CorpusIdentity>& identities() const { return identities_; }
  const std::string& first_prefix() const { return files_.front().prefix(); }
  std::size_t count() const { return files_.size(); }
  std::int64_t documents() const { return first_document_.back(); }
  std::int64_t document_tokens(std::int64_t document) const;
  void require_whole() const;  // of every file
  // Tokens [first, first + output.size()) of a document. Throws DataError as TokenFile::read does,
  // where the file has changed since it was opened.
  void read(std::int64_t document, std::int64_t first, std::span<std::int32_t> output) const;

 private:
  struct Place {
    const TokenFile& file;
    std::int64_t document;  // in the file
  };
  Place locate(std::int64_t document) const;

  int vocab_size_;
  std::vector<TokenFile> files_;
  std::vector<std::int64_t> first_document_;  // of each file, and the count of all
  std::vector<CorpusIdentity> identities_;
};

}  // namespace seq1f1b::data

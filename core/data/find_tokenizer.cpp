#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/data/tokenizer.h"
#include "core/data/tokenizer_json.h"
#include "kernels/common/errors.h"

namespace seq1f1b::data {
namespace {

// The first field in which two tokenizers differ, as "kind: bytes and sentencepiece"; empty for the
// same tokenizer.
std::string difference(const Tokenizer& a, const Tokenizer& b) {
  const std::string ours = a.to_json(), theirs = b.to_json();
  if (ours == theirs) return "";
  const auto left = nlohmann::ordered_json::parse(ours);
  const auto right = nlohmann::ordered_json::parse(theirs);
  for (const char* field : {"kind", "vocab_size", "end_of_document", "document_separator"})
    if (left.at(field) != right.at(field))
      return concat(field, ": ", left.at(field).dump(), " and ", right.at(field).dump());
  return "their models";
}

}  // namespace

FoundTokenizer find_tokenizer(const std::string& configured,
                              const std::vector<std::string>& prefixes) {
  FoundTokenizer found;
  for (const std::string& prefix : prefixes) {
    const std::string path = tokenizer_path(prefix);
    std::error_code unknown;  // what cannot be examined is reported when it is opened
    if (!std::filesystem::exists(path, unknown) && !unknown) continue;
    auto tokenizer = load_tokenizer(path);
    if (!found.tokenizer) {
      found = {std::move(tokenizer), path};
      continue;
    }
    const std::string differs = difference(*found.tokenizer, *tokenizer);
    if (!differs.empty())
      throw ConfigError(concat("data.train: ", found.path, " and ", path,
                               " are different tokenizers (", differs,
                               "), so that the same numbers are other text: prepare one of the two "
                               "again with --tokenizer and the file of the other"));
  }
  if (configured.empty()) return found;
  auto tokenizer = load_tokenizer(configured);
  const std::string differs = found.tokenizer ? difference(*tokenizer, *found.tokenizer) : "";
  if (!differs.empty())
    throw ConfigError(concat("data.tokenizer: ", configured, " is not the tokenizer of the data, ",
                             found.path, " (", differs,
                             "): remove data.tokenizer, or prepare the data with it"));
  return {std::move(tokenizer), configured};
}

}  // namespace seq1f1b::data

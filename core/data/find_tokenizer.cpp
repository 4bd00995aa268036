#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/data/tokenizer.h"
#include "core/data/tokenizer_json.h"
#include "kernels/common/errors.h"

namespace seq1f1b::data {
namespace {

// What a prefix of data.train is instead of one, and how to get one; empty: nothing.
std::string prefix_problem(const std::string& prefix) {
  std::error_code unknown;  // what cannot be examined is reported when it is opened
  const auto there = [&](const std::string& path) {
    return std::filesystem::exists(path, unknown);
  };
  const auto prepared = [&](const std::string& path) {
    return there(path + ".bin") || there(path + ".idx");
  };
  if (prepared(prefix)) return "";
  const std::string takes =
      concat("data.train: ", prefix,
             " is no prefix: the key takes that of a prepared corpus, the PREFIX of PREFIX.bin and "
             "PREFIX.idx");
  for (const std::string ending : {".bin", ".idx", ".tokenizer.json"})
    if (prefix.ends_with(ending))
      if (const auto stem = prefix.substr(0, prefix.size() - ending.size()); prepared(stem))
        return concat(takes, ". Write ", stem);
  if (std::filesystem::is_directory(prefix, unknown))
    return concat(takes, ", and this is a folder. Name a corpus in it, like ",
                  (std::filesystem::path(prefix) / "corpus").string());
  if (!there(prefix)) return "";
  std::filesystem::path stem(prefix);
  stem.replace_extension();
  const std::string output = stem == prefix ? prefix + "_tokens" : stem.string();
  return concat(takes, ". Prepare the text first (seq1f1b prepare ", prefix, " --output ", output,
                "), then set data.train: ", output);
}

}  // namespace

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

FoundTokenizer find_tokenizer(const std::string& configured,
                              const std::vector<std::string>& prefixes) {
  FoundTokenizer found;
  for (const std::string& prefix : prefixes) {
    if (const std::string problem = prefix_problem(prefix); !problem.empty())
      throw ConfigError(problem);
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

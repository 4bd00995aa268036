#include "core/data/tokenizer_json.h"

#include <nlohmann/json.hpp>

#include "core/base/files.h"
#include "core/data/base64.h"
#include "core/data/utf8.h"
#include "kernels/common/errors.h"

namespace seq1f1b::data {
namespace {

constexpr const char* kFormat = "seq1f1b.tokenizer";
constexpr int kVersion = 1;

// What the parser and the accessors say names their own parts, not the file's.
[[noreturn]] void refuse(const std::string& source, const nlohmann::json::exception& error,
                         std::size_t size) {
  const auto* syntax = dynamic_cast<const nlohmann::json::parse_error*>(&error);
  throw DataError(
      concat(source, ": is not a tokenizer file: ",
             syntax == nullptr ? "a field is missing or of another type"
             : size == 0       ? "the file is empty"
             : syntax->byte > size
                 ? concat("the file ends in the middle, after ", size, " bytes")
                 : concat("it is not JSON from byte ", syntax->byte, " of ", size, " on"),
             "; copy it again from where it came from, or prepare the text again"));
}

std::unique_ptr<Tokenizer> build(const nlohmann::json& json, const std::string& source) {
  const auto kind = json.at("kind").get<std::string>();
  const auto separator = json.at("document_separator").get<std::string>();
  if (kind == "bytes") return make_byte_tokenizer(separator);
  if (kind != "sentencepiece")
    throw DataError(concat(source, ": unknown kind of tokenizer '", kind,
                           "'; this program knows bytes and sentencepiece"));
  auto model = base64_decode(json.at("model").get<std::string>());
  if (!model)
    throw DataError(concat(source, ": the field 'model' is not base64; the file is damaged"));
  return sentencepiece_from_model(std::move(*model), source, separator);
}

}  // namespace

nlohmann::ordered_json pending_header() {
  return {{"format", kFormat}, {"version", kVersion}, {"kind", kPendingKind}};
}

nlohmann::json parse_tokenizer_file(const std::string& text, const std::string& source) {
  try {
    auto json = nlohmann::json::parse(text);
    if (json.at("format") != kFormat) throw DataError(concat(source, ": is not a tokenizer file"));
    if (json.at("version") != kVersion)
      throw DataError(concat(source, ": tokenizer file of version ", json.at("version").dump(),
                             "; this program reads version ", kVersion));
    if (json.at("kind") == kPendingKind)
      throw DataError(concat(source,
                             ": the preparation of these files was interrupted, or is under way: "
                             "they do not belong together; wait for it, or prepare them again"));
    return json;
  } catch (const nlohmann::json::exception& error) {
    refuse(source, error, text.size());
  }
}

nlohmann::ordered_json json_header(const Tokenizer& tokenizer,
                                   const std::string& document_separator) {
  return {{"format", kFormat},
          {"version", kVersion},
          {"kind", tokenizer.name()},
          {"vocab_size", tokenizer.vocab_size()},
          {"end_of_document", tokenizer.end_of_document()},
          {"document_separator", document_separator}};
}

void check_separator(const std::string& document_separator) {
  if (document_separator.empty()) throw ConfigError("the document separator is empty");
  if (!is_utf8(document_separator)) throw ConfigError("the document separator is not UTF-8");
}

void check_token(std::int32_t token, int vocab_size) {
  if (token < 0 || token >= vocab_size)
    throw DataError(
        concat("token ", token, " is outside the tokenizer's vocabulary of ", vocab_size));
}

std::unique_ptr<Tokenizer> tokenizer_from_json(const std::string& text, const std::string& source) {
  try {
    const auto json = parse_tokenizer_file(text, source);
    auto tokenizer = build(json, source);
    // The model is opaque to us; these two numbers catch one that was swapped or altered.
    if (json.at("vocab_size") != tokenizer->vocab_size() ||
        json.at("end_of_document") != tokenizer->end_of_document())
      throw DataError(concat(source, ": the model has ", tokenizer->vocab_size(),
                             " tokens and ends documents with ", tokenizer->end_of_document(),
                             ", the file says ", json.at("vocab_size").dump(), " and ",
                             json.at("end_of_document").dump(), "; the file is damaged"));
    return tokenizer;
  } catch (const ConfigError& error) {  // a separator that no command line would have let through
    throw DataError(concat(source, ": ", error.what()));
  } catch (const nlohmann::json::exception& error) {
    refuse(source, error, text.size());
  }
}

std::unique_ptr<Tokenizer> load_tokenizer(const std::string& path) {
  return tokenizer_from_json(base::read_file(path), path);
}

}  // namespace seq1f1b::data

#pragma once
// What the tokenizers of this folder share: their JSON form and their argument checks. Private to
// core/data.
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "core/data/tokenizer.h"

namespace seq1f1b::data {

// PREFIX + this is the tokenizer file beside token files.
inline constexpr const char* kTokenizerEnding = ".tokenizer.json";
inline std::string tokenizer_path(const std::string& prefix) { return prefix + kTokenizerEnding; }

// The kind of a tokenizer file that is no tokenizer but the mark of a preparation which has not
// finished (publication.h), and the fields that it shares with the others.
inline constexpr const char* kPendingKind = "pending";
nlohmann::ordered_json pending_header();

// A tokenizer file as JSON. Throws DataError, naming `source`, for another format or version and
// for a preparation that has not finished.
nlohmann::json parse_tokenizer_file(const std::string& text, const std::string& source);

// The fields every kind has: format, version, kind, vocab_size, end_of_document,
// document_separator.
nlohmann::ordered_json json_header(const Tokenizer& tokenizer,
                                   const std::string& document_separator);

// The separator must be storable in JSON and mark an end: not empty, UTF-8. Throws ConfigError.
void check_separator(const std::string& document_separator);

// Throws DataError when `token` is outside the vocabulary.
void check_token(std::int32_t token, int vocab_size);

// From the serialised model itself; `source` names it in messages.
std::unique_ptr<Tokenizer> sentencepiece_from_model(std::string model, const std::string& source,
                                                    const std::string& document_separator);

}  // namespace seq1f1b::data

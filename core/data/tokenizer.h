#pragma once
// Text to token ids and back, losslessly: decode(encode(text)) == text for every byte string.
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace seq1f1b::data {

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual std::string name() const = 0;  // "bytes", "sentencepiece"
  virtual int vocab_size() const = 0;    // end of document included
  virtual std::int32_t end_of_document() const = 0;
  virtual std::vector<std::int32_t> encode(std::string_view text) const = 0;
  // The end-of-document token decodes to `document_separator` (what prepare split at).
  virtual std::string decode(std::span<const std::int32_t> tokens) const = 0;
  // How many bytes of text a token stands for; the end of document counts as its separator.
  virtual int token_bytes(std::int32_t token) const = 0;
  // One JSON file with everything that is needed to load it again (a sentencepiece model included).
  virtual std::string to_json() const = 0;
};

std::unique_ptr<Tokenizer> make_byte_tokenizer(const std::string& document_separator = "\n");
// Trains a BPE model of `vocab_size` pieces (end of document included) on `text`.
std::unique_ptr<Tokenizer> train_sentencepiece(std::string_view text, int vocab_size,
                                               const std::string& document_separator = "\n",
                                               int threads = 2);
// A given sentencepiece model file.
std::unique_ptr<Tokenizer> load_sentencepiece(const std::string& model_path,
                                              const std::string& document_separator = "\n");
// The tokenizer of a run: the file `configured`, or where that is empty the one that prepare wrote
// beside the prefixes. Throws ConfigError where these are not all the same tokenizer: the
// same numbers would be other text.
struct FoundTokenizer {
  std::unique_ptr<Tokenizer> tokenizer;  // null: there is none
  std::string path;
};
FoundTokenizer find_tokenizer(const std::string& configured,
                              const std::vector<std::string>& prefixes);
// The first field in which two tokenizers differ, as "kind: bytes and sentencepiece"; empty for the
// same tokenizer.
std::string difference(const Tokenizer& a, const Tokenizer& b);
// From a file or string made of to_json(). Throws DataError.
std::unique_ptr<Tokenizer> load_tokenizer(const std::string& path);
std::unique_ptr<Tokenizer> tokenizer_from_json(const std::string& json, const std::string& source);

}  // namespace seq1f1b::data

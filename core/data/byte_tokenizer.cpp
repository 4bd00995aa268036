#include <nlohmann/json.hpp>

#include "core/data/tokenizer.h"
#include "core/data/tokenizer_json.h"
#include "kernels/common/errors.h"

namespace seq1f1b::data {
namespace {

constexpr std::int32_t kEndOfDocument = 256;

class ByteTokenizer final : public Tokenizer {
 public:
  explicit ByteTokenizer(std::string document_separator)
      : document_separator_(std::move(document_separator)) {
    check_separator(document_separator_);
  }

  std::string name() const override { return "bytes"; }
  int vocab_size() const override { return kEndOfDocument + 1; }
  std::int32_t end_of_document() const override { return kEndOfDocument; }

  std::vector<std::int32_t> encode(std::string_view text) const override {
    std::vector<std::int32_t> tokens(text.size());
    for (std::size_t i = 0; i < text.size(); ++i) tokens[i] = static_cast<unsigned char>(text[i]);
    return tokens;
  }

  std::string decode(std::span<const std::int32_t> tokens) const override {
    std::string text;
    text.reserve(tokens.size());
    for (const std::int32_t token : tokens) {
      check_token(token, vocab_size());
      if (token == kEndOfDocument)
        text += document_separator_;
      else
        text += static_cast<char>(token);
    }
    return text;
  }

  int token_bytes(std::int32_t token) const override {
    check_token(token, vocab_size());
    return token == kEndOfDocument ? static_cast<int>(document_separator_.size()) : 1;
  }

  std::string to_json() const override {
    nlohmann::ordered_json json = json_header(*this, document_separator_);
    return json.dump(1) + "\n";
  }

 private:
  std::string document_separator_;
};

}  // namespace

std::unique_ptr<Tokenizer> make_byte_tokenizer(const std::string& document_separator) {
  return std::make_unique<ByteTokenizer>(document_separator);
}

}  // namespace seq1f1b::data

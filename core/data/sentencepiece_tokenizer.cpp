// sentencepiece with a layer that makes it lossless. sentencepiece alone normalises, strips spaces,
// confuses U+2581 with a space and replaces malformed UTF-8. Here it only proposes tokens for runs
// of clean text; a proposal whose bytes are not the run's own is refused, the run halved, and what
// is left in the end spelled in byte pieces. Decoding is a table of bytes per token, never
// sentencepiece.
#include <sentencepiece_processor.h>

#include <array>
#include <charconv>
#include <nlohmann/json.hpp>

#include "core/base/files.h"
#include "core/data/base64.h"
#include "core/data/runs.h"
#include "core/data/tokenizer.h"
#include "core/data/tokenizer_json.h"
#include "kernels/common/errors.h"

namespace seq1f1b::data {
namespace {

// A serialised ModelProto to be appended to a given model: protobuf merges repeated messages and
// the last scalar wins, so this switches the normaliser off without the message classes. Field
// numbers of sentencepiece_model.proto: ModelProto.normalizer_spec = 3; in it precompiled_charsmap
// = 2, add_dummy_prefix = 3, remove_extra_whitespaces = 4, escape_whitespaces = 5.
constexpr std::string_view kLosslessNormalizer{"\x1A\x08\x12\x00\x18\x00\x20\x00\x28\x01", 10};

// "<0x41>" is 'A'.
int byte_of_piece(const std::string& piece) {
  int byte = -1;
  if (piece.size() == 6) std::from_chars(piece.data() + 3, piece.data() + 5, byte, 16);
  return byte;
}

std::string bytes_of_piece(const std::string& piece) {
  std::string bytes;
  for (std::size_t i = 0; i < piece.size();) {
    const bool space = piece.compare(i, kSpaceSymbol.size(), kSpaceSymbol) == 0;
    bytes += space ? ' ' : piece[i];
    i += space ? kSpaceSymbol.size() : 1;
  }
  return bytes;
}

class SentencepieceTokenizer final : public Tokenizer {
 public:
  SentencepieceTokenizer(std::string model, const std::string& source,
                         std::string document_separator)
      : model_(std::move(model)), document_separator_(std::move(document_separator)) {
    check_separator(document_separator_);
    const auto status =
        processor_.LoadFromSerializedProto(model_ + std::string(kLosslessNormalizer));
    if (!status.ok())
      throw DataError(concat(source, ": is not a sentencepiece model: ", status.ToString()));
    fill_tables(source);
  }

  std::string name() const override { return "sentencepiece"; }
  int vocab_size() const override { return static_cast<int>(bytes_.size()); }
  std::int32_t end_of_document() const override { return end_of_document_; }

  std::vector<std::int32_t> encode(std::string_view text) const override {
    std::vector<std::int32_t> tokens;
    tokens.reserve(text.size() / 3);
    std::vector<int> proposal;
    while (!text.empty()) {
      const Run run = next_run(text);
      if (run.is_text)
        encode_text(run.bytes, proposal, tokens);
      else
        spell(run.bytes, tokens);
      text.remove_prefix(run.bytes.size());
    }
    return tokens;
  }

  std::string decode(std::span<const std::int32_t> tokens) const override {
    std::string text;
    for (const std::int32_t token : tokens) {
      check_token(token, vocab_size());
      text += bytes_[static_cast<std::size_t>(token)];
    }
    return text;
  }

  int token_bytes(std::int32_t token) const override {
    check_token(token, vocab_size());
    return static_cast<int>(bytes_[static_cast<std::size_t>(token)].size());
  }

  std::string to_json() const override {
    nlohmann::ordered_json json = json_header(*this, document_separator_);
    json["model"] = base64_encode(model_);
    return json.dump(1) + "\n";
  }

 private:
  void fill_tables(const std::string& source) {
    byte_ids_.fill(-1);
    const int pieces = processor_.GetPieceSize();
    bytes_.resize(static_cast<std::size_t>(pieces));  // unknown, control, unused: no bytes
    for (int id = 0; id < pieces; ++id) {
      auto& bytes = bytes_[static_cast<std::size_t>(id)];
      if (processor_.IsByte(id)) {
        const int byte = byte_of_piece(processor_.IdToPiece(id));
        if (byte < 0) continue;
        bytes = static_cast<char>(byte);
        byte_ids_[static_cast<std::size_t>(byte)] = id;
      } else if (!processor_.IsUnknown(id) && !processor_.IsControl(id) &&
                 !processor_.IsUnused(id)) {
        bytes = bytes_of_piece(processor_.IdToPiece(id));
      }
    }
    for (const std::int32_t id : byte_ids_)
      if (id < 0)
        throw DataError(
            concat(source,
                   ": the sentencepiece model has no pieces for single bytes, so "
                   "some texts could not be restored; train it with --byte_fallback=true"));
    end_of_document_ = processor_.eos_id();
    if (end_of_document_ < 0) {
      end_of_document_ = pieces;
      bytes_.emplace_back();
    }
    bytes_[static_cast<std::size_t>(end_of_document_)] = document_separator_;
  }

  void encode_text(std::string_view text, std::vector<int>& proposal,
                   std::vector<std::int32_t>& tokens) const {
    const auto status = processor_.Encode({text.data(), text.size()}, &proposal);
    if (status.ok() && spells(proposal, text)) {
      tokens.insert(tokens.end(), proposal.begin(), proposal.end());
      return;
    }
    const std::size_t first = utf8_length(text);
    if (first == text.size()) {
      spell(text, tokens);
      return;
    }
    std::size_t half = text.size() / 2;  // moved to the start of a character
    while (half > 0 && (static_cast<unsigned char>(text[half]) & 0xC0u) == 0x80u) --half;
    if (half == 0) half = first;
    encode_text(text.substr(0, half), proposal, tokens);
    encode_text(text.substr(half), proposal, tokens);
  }

  // Whether the tokens' bytes are exactly `text`. An end of document stands for no bytes here: text
  // never becomes that token.
  bool spells(const std::vector<int>& tokens, std::string_view text) const {
    for (const int token : tokens) {
      const std::string& bytes = bytes_[static_cast<std::size_t>(token)];
      if (token == end_of_document_ || text.substr(0, bytes.size()) != bytes) return false;
      text.remove_prefix(bytes.size());
    }
    return text.empty();
  }

  void spell(std::string_view bytes, std::vector<std::int32_t>& tokens) const {
    for (const char byte : bytes) tokens.push_back(byte_ids_[static_cast<unsigned char>(byte)]);
  }

  std::string model_;
  std::string document_separator_;
  sentencepiece::SentencePieceProcessor processor_;
  std::vector<std::string> bytes_;  // per token
  std::array<std::int32_t, 256> byte_ids_{};
  std::int32_t end_of_document_ = 0;
};

}  // namespace

std::unique_ptr<Tokenizer> sentencepiece_from_model(std::string model, const std::string& source,
                                                    const std::string& document_separator) {
  return std::make_unique<SentencepieceTokenizer>(std::move(model), source, document_separator);
}

std::unique_ptr<Tokenizer> load_sentencepiece(const std::string& model_path,
                                              const std::string& document_separator) {
  return sentencepiece_from_model(base::read_file(model_path), model_path, document_separator);
}

}  // namespace seq1f1b::data

#include "core/data/corpus_record.h"

#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/base/checksum.h"
#include "core/base/files.h"
#include "core/data/tokenizer_json.h"
#include "kernels/common/errors.h"

namespace seq1f1b::data {
namespace {

constexpr std::size_t kPieces = 64;
constexpr std::size_t kPieceBytes = std::size_t{64} << 10;

}  // namespace

std::string pieces_checksum(std::span<const std::byte> bytes) {
  base::Checksum checksum;
  if (bytes.size() <= kPieces * kPieceBytes) {
    checksum.update(bytes);
    return checksum.hex();
  }
  const std::size_t last = bytes.size() - kPieceBytes;
  for (std::size_t piece = 0; piece < kPieces; ++piece)
    checksum.update(bytes.subspan(piece * last / (kPieces - 1), kPieceBytes));
  return checksum.hex();
}

std::string with_record(const std::string& tokenizer_json, const CorpusRecord& record) {
  auto json = nlohmann::ordered_json::parse(tokenizer_json);
  const CorpusIdentity& identity = record.identity;
  json["corpus"] = {
      {"documents", identity.documents},          {"tokens", identity.tokens},
      {"largest_token", identity.largest_token},  {"idx_xxh3_64", identity.index_checksum},
      {"bin_xxh3_64", identity.content_checksum}, {"bin_pieces_xxh3_64", record.pieces_checksum}};
  return json.dump(1) + "\n";
}

std::optional<CorpusRecord> read_record(const std::string& prefix) {
  const std::string path = tokenizer_path(prefix);
  std::error_code unknown;  // what cannot be examined is reported when it is opened
  if (!std::filesystem::exists(path, unknown) && !unknown) return std::nullopt;
  const nlohmann::json json = parse_tokenizer_file(base::read_file(path), path);
  const auto found = json.find("corpus");
  if (found == json.end()) return std::nullopt;
  try {
    CorpusRecord record;
    found->at("documents").get_to(record.identity.documents);
    found->at("tokens").get_to(record.identity.tokens);
    found->at("largest_token").get_to(record.identity.largest_token);
    found->at("idx_xxh3_64").get_to(record.identity.index_checksum);
    found->at("bin_xxh3_64").get_to(record.identity.content_checksum);
    found->at("bin_pieces_xxh3_64").get_to(record.pieces_checksum);
    return record;
  } catch (const nlohmann::json::exception& error) {
    throw DataError(concat(path, ": the field 'corpus' is not understood: ", error.what()));
  }
}

}  // namespace seq1f1b::data

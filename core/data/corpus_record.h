#pragma once
// What prepare notes of PREFIX.bin and PREFIX.idx in PREFIX.tokenizer.json, which it writes last:
// the proof that the three belong together, and their identity for whoever trains on them.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace seq1f1b::data {

// What makes two token files the same, wherever they lie. Checksums are XXH3-64 in hex
// (base/checksum.h).
struct CorpusIdentity {
  std::int64_t documents = 0;
  std::int64_t tokens = 0;
  std::int64_t largest_token = -1;  // -1 where there is none
  std::string index_checksum;       // of PREFIX.idx
  std::string content_checksum;     // of PREFIX.bin
  bool operator==(const CorpusIdentity&) const = default;
};

struct CorpusRecord {
  CorpusIdentity identity;
  std::string pieces_checksum;  // of PREFIX.bin: pieces_checksum()
};

// Of 64 pieces of 64 KiB, the first at the start, the last at the end, the others evenly between
// them (piece i of 0..63 at i * (size - 65536) / 63, rounded down); of all where that is not more.
// Tells files of another text apart without reading them whole.
std::string pieces_checksum(std::span<const std::byte> bytes);

// A tokenizer's JSON with the record as its field "corpus".
std::string with_record(const std::string& tokenizer_json, const CorpusRecord& record);
// The record in PREFIX.tokenizer.json; none where there is no such file, or it has none (files of
// other programs). Throws DataError where it is not understood or a preparation has not finished.
std::optional<CorpusRecord> read_record(const std::string& prefix);

}  // namespace seq1f1b::data

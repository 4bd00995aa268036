#include "core/base/checksum.h"

#include <xxhash.h>

#include <array>
#include <cinttypes>
#include <cstdio>

#include "core/base/mapped_file.h"

namespace seq1f1b::base {

struct Checksum::State {
  XXH3_state_t hash;  // 64-byte aligned by its declaration
};

Checksum::Checksum() : state_(std::make_unique<State>()) { XXH3_64bits_reset(&state_->hash); }
Checksum::~Checksum() = default;

void Checksum::update(std::span<const std::byte> bytes) {
  XXH3_64bits_update(&state_->hash, bytes.data(), bytes.size());
}

std::string Checksum::hex() const {
  std::array<char, 17> text{};
  std::snprintf(text.data(), text.size(), "%016" PRIx64,
                std::uint64_t{XXH3_64bits_digest(&state_->hash)});
  return text.data();
}

std::string text_checksum(std::string_view text) {
  Checksum checksum;
  checksum.update(std::as_bytes(std::span(text)));
  return checksum.hex();
}

std::string file_checksum(const std::string& path) {
  const base::MappedFile file(path);
  file.expect_sequential();
  Checksum checksum;
  checksum.update(file.bytes());
  return checksum.hex();
}

}  // namespace seq1f1b::base

#pragma once
// XXH3-64 (https://xxhash.com), written as 16 hex digits: finds damage, not forgery.
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace seq1f1b::base {

class Checksum {
 public:
  Checksum();
  ~Checksum();
  Checksum(const Checksum&) = delete;
  Checksum& operator=(const Checksum&) = delete;
  void update(std::span<const std::byte> bytes);
  std::string hex() const;  // of everything so far

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string text_checksum(std::string_view text);

// Of a whole file; equal to `xxhsum -H3`. Throws DataError when it cannot be read.
std::string file_checksum(const std::string& path);

}  // namespace seq1f1b::base

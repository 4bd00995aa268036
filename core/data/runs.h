#pragma once
// Cuts a byte string into the parts that sentencepiece may see and the bytes that it may not.
#include <cstddef>
#include <string_view>

#include "core/data/utf8.h"

namespace seq1f1b::data {

// sentencepiece writes a space as U+2581 and cannot tell the two apart afterwards.
inline constexpr std::string_view kSpaceSymbol = "\xE2\x96\x81";

// A run is handed over whole up to about this size; sentencepiece's time per byte grows with the
// length of its input (measured: 4.4 MB take 1.0 s in lines of 140 bytes, 6 s in one piece).
inline constexpr std::size_t kRunBytes = 512;
// Text without spaces is cut here at the latest; also below sentencepiece's limit on a training
// sentence, 4192 bytes.
inline constexpr std::size_t kLongestRunBytes = 4096;

struct Run {
  std::string_view bytes;
  bool is_text = false;  // well-formed UTF-8 without U+2581 and NUL
};

inline std::size_t text_length(std::string_view rest) {
  if (rest.front() == '\0' || rest.substr(0, kSpaceSymbol.size()) == kSpaceSymbol) return 0;
  return utf8_length(rest);
}

// The first run of `rest` (not empty). Long text is cut before the first space of a group of
// spaces: our trained pieces hold a space at their front only, so such a cut changes no token.
inline Run next_run(std::string_view rest) {
  std::size_t size = 0;
  while (size < rest.size()) {
    if (size >= kRunBytes && rest[size] == ' ' && rest[size - 1] != ' ') break;
    const std::size_t length = text_length(rest.substr(size));
    if (length == 0 || size + length > kLongestRunBytes) break;
    size += length;
  }
  if (size > 0) return {rest.substr(0, size), true};
  do {
    ++size;
  } while (size < rest.size() && text_length(rest.substr(size)) == 0);
  return {rest.substr(0, size), false};
}

}  // namespace seq1f1b::data

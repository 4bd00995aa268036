#pragma once
// Texts to train and to torment tokenizers with.
#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace seq1f1b::data {

// English-like lines with a few accents: enough for some hundred pieces.
inline std::string training_text() {
  const std::vector<std::string> words{
      "the",   "ship",     "sailed", "slowly", "towards", "harbour", "where",  "people", "waited",
      "with",  "lanterns", "and",    "songs",  "café",    "naïve",   "number", "twelve", "counting",
      "every", "morning",  "bread",  "baker",  "river",   "running", "under",  "bridge", "stone"};
  std::mt19937 random(7);
  std::string text;
  for (int line = 0; line < 400; ++line) {
    for (int word = 0; word < 12; ++word)
      text += (word == 0 ? "" : " ") + words[random() % words.size()];
    text += line % 3 == 0 ? "!\n" : ".\n";
  }
  return text;
}

inline std::vector<std::string> adversarial_texts() {
  using namespace std::string_literals;
  return {
      "",
      " ",
      "      ",
      " leading and trailing ",
      "two  spaces   three",
      "\n",
      "\r\n\t\v\f",
      "\n\n line \n",
      "\0"s,
      "nul\0inside\0"s,
      "\xE2\x96\x81",  // U+2581, which stands for a space inside sentencepiece
      "a\xE2\x96\x81 \xE2\x96\x81z",
      "\xE2\x96\x85",  // U+2585, its mark for unknown characters in training
      "\xEF\xBF\xBD",  // U+FFFD, its replacement for malformed input
      "\xEF\xBB\xBF"
      "byte order mark",
      "\xE2\x96",  // a character cut short
      "the \xE2\x96",
      "\xC0\xAF overlong \xE0\x80\xAF",
      "\xED\xA0\x80 surrogate",
      "\xF4\x90\x80\x80 beyond",
      "\xFF\xFE\x80\x80",
      "<unk></s><s><0x41><0x0A><pad>",
      "<sep>",
      "\xEF\xAC\x81 ligature, \xC2\xBD, e\xCC\x81, \xE3\x80\x80 wide space, \xC2\xA0",
      "日本語のテキスト \xF0\x9F\x98\x80\xF0\x9F\x8F\xBD",
      std::string(5000, ' '),
      std::string(9000, 'a'),
      std::string(6000, '\xE3'),
      [] {
        std::string text;
        for (int i = 0; i < 3000; ++i) text += "\xC3\xA9";
        return text;
      }(),
  };
}

// Bytes of any value; every third string mixes clean words in.
inline std::string random_bytes(std::mt19937& random) {
  std::string text(random() % 200, '\0');
  for (char& byte : text) byte = static_cast<char>(random());
  if (random() % 3 == 0) text += " the harbour " + text.substr(text.size() / 2) + " stone";
  return text;
}

// Well-formed characters from all planes, spaces and controls among them.
inline std::string random_utf8(std::mt19937& random) {
  std::string text;
  const auto append = [&text](std::uint32_t code) {
    const auto tail = [code](int shift) {
      return static_cast<char>(0x80 | (code >> shift & 0x3F));
    };
    if (code < 0x80) {
      text += static_cast<char>(code);
    } else if (code < 0x800) {
      text += static_cast<char>(0xC0 | code >> 6);
      text += tail(0);
    } else if (code < 0x10000) {
      text += static_cast<char>(0xE0 | code >> 12);
      (text += tail(6)) += tail(0);
    } else {
      text += static_cast<char>(0xF0 | code >> 18);
      ((text += tail(12)) += tail(6)) += tail(0);
    }
  };
  const std::vector<std::uint32_t> limits{0x21, 0x80, 0x800, 0x2600, 0x10000, 0x110000};
  for (std::uint32_t left = random() % 100; left > 0; --left) {
    const std::uint32_t limit = limits[random() % limits.size()];
    const std::uint32_t code = static_cast<std::uint32_t>(random()) % limit;
    append(code >= 0xD800 && code < 0xE000 ? 0x2581 : code);
  }
  return text;
}

}  // namespace seq1f1b::data

#include "core/config/scalar.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <string_view>

#include "kernels/common/errors.h"

namespace seq1f1b::config {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// A decimal number as written: sign, digits of both sides of the point, exponent.
struct Decimal {
  bool negative = false;
  std::string digits;  // integral and fractional
  int fraction_digits = 0;
  int exponent = 0;
};

std::size_t take_digits(std::string_view text, std::size_t at, std::string& digits) {
  while (at < text.size() && is_digit(text[at])) digits += text[at++];
  return at;
}

std::optional<Decimal> parse_decimal(std::string_view text) {
  Decimal result;
  std::size_t at = 0;
  if (at < text.size() && (text[at] == '-' || text[at] == '+')) result.negative = text[at++] == '-';
  at = take_digits(text, at, result.digits);
  if (at < text.size() && text[at] == '.') {
    const std::size_t begin = ++at;
    at = take_digits(text, at, result.digits);
    result.fraction_digits = static_cast<int>(at - begin);
  }
  if (result.digits.empty()) return std::nullopt;
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    if (at < text.size() && text[at] == '+' && text.substr(at, 2) != "+-") ++at;
    const char* end = text.data() + text.size();
    const auto [last, code] = std::from_chars(text.data() + at, end, result.exponent);
    if (code != std::errc() || last != end || std::abs(result.exponent) > 9999) return std::nullopt;
    at = text.size();
  }
  if (at != text.size()) return std::nullopt;
  return result;
}

// What is wrong with the way a number is written; empty: nothing.
std::string spelling_problem(const std::string& text, const char* kind) {
  if (text.find('_') != std::string::npos) {
    std::string plain = text;
    plain.erase(std::remove(plain.begin(), plain.end(), '_'), plain.end());
    if (parse_decimal(plain)) return concat("'", text, "' has digit separators; write ", plain);
  }
  const std::size_t first = text.find_first_not_of("+-");
  const bool leading_zero = first != std::string::npos && first + 1 < text.size() &&
                            text[first] == '0' && is_digit(text[first + 1]);
  if (leading_zero && parse_decimal(text)) {
    const std::size_t rest = std::min(text.find_first_not_of('0', first), text.size() - 1);
    return concat("'", text, "' has a leading zero, which some YAML readers take for octal; write ",
                  text.substr(0, first), text.substr(rest));
  }
  if (!parse_decimal(text)) return concat("'", text, "' is not ", kind);
  return "";
}

// The digits shifted by the exponent when the number is whole; nullopt otherwise.
std::optional<std::string> whole_digits(Decimal decimal) {
  std::string& digits = decimal.digits;
  digits.erase(0, std::min(digits.find_first_not_of('0'), digits.size()));
  if (digits.empty()) return "0";
  for (int shift = decimal.exponent - decimal.fraction_digits; shift != 0;) {
    if (shift > 0) {
      digits += '0';
      --shift;
    } else {
      if (digits.empty() || digits.back() != '0') return std::nullopt;
      digits.pop_back();
      ++shift;
    }
  }
  return digits;
}

template <class Integer>
std::string read_integer(const std::string& text, Integer& value) {
  const std::string problem = spelling_problem(text, "a whole number");
  if (!problem.empty()) return problem;
  const Decimal decimal = *parse_decimal(text);
  const auto digits = whole_digits(decimal);
  if (!digits) return concat("'", text, "' is not a whole number");
  const std::string plain = (decimal.negative && *digits != "0" ? "-" : "") + *digits;
  const auto [last, code] = std::from_chars(plain.data(), plain.data() + plain.size(), value);
  if (code != std::errc() || last != plain.data() + plain.size()) {
    return concat("'", text, "' is outside ", std::numeric_limits<Integer>::min(), " to ",
                  std::numeric_limits<Integer>::max());
  }
  return "";
}

}  // namespace

std::string read_number(const std::string& text, int& value) { return read_integer(text, value); }
std::string read_number(const std::string& text, std::int64_t& value) {
  return read_integer(text, value);
}
std::string read_number(const std::string& text, std::uint64_t& value) {
  return read_integer(text, value);
}

std::string read_number(const std::string& text, double& value) {
  const std::string problem = spelling_problem(text, "a number");
  if (!problem.empty()) return problem;
  const char* begin = text.data() + (text[0] == '+' ? 1 : 0);
  const char* end = text.data() + text.size();
  double parsed = 0;
  const auto [last, code] = std::from_chars(begin, end, parsed);
  if (code != std::errc() || last != end)
    return concat("'", text, "' does not fit a double-precision number");
  value = parsed;
  return "";
}

std::string number_text(double value) {
  std::array<char, 32> buffer{};
  const auto result = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  std::string text(buffer.data(), result.ptr);
  // YAML 1.1 readers take a number with an exponent but without a point for a text.
  if (text.find('.') == std::string::npos) text.insert(std::min(text.find('e'), text.size()), ".0");
  return text;
}

std::string quoted_text(const std::string& text) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-";
  // Words that YAML readers take for something else; true and false are meant when they stand here.
  constexpr std::array<std::string_view, 9> kWords{"null", "yes", "no",  "on", "off",
                                                   "y",    "n",   "inf", "nan"};
  std::string lower = text;
  std::ranges::transform(lower, lower.begin(),
                         [](char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; });
  const bool starts_plain =
      !text.empty() && (kLetters.find(text[0]) != std::string_view::npos || text[0] == '/');
  if (starts_plain && text.find_first_not_of(kPlain) == std::string::npos &&
      std::ranges::find(kWords, lower) == kWords.end())
    return text;
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      constexpr std::string_view kHex = "0123456789abcdef";
      quoted += "\\x";
      quoted += kHex[byte >> 4];
      quoted += kHex[byte & 15];
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

}  // namespace seq1f1b::config

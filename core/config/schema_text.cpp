// Fields in words: what is legal, what is wrong, what is near.
#include <algorithm>
#include <cctype>
#include <cmath>
#include <limits>
#include <numeric>
#include <type_traits>

#include "core/base/text.h"
#include "core/config/scalar.h"
#include "core/config/schema.h"
#include "kernels/common/errors.h"

namespace seq1f1b::config {
namespace {

// Limits are few and exact; whole ones read best without point and exponent.
std::string limit_text(double value) {
  if (value == std::floor(value) && std::abs(value) < 1e15)
    return std::to_string(static_cast<std::int64_t>(value));
  return number_text(value);
}

template <class T>
constexpr bool kIsList =
    std::is_same_v<T, std::vector<std::int64_t>> || std::is_same_v<T, std::vector<std::string>>;

template <class T>
std::string text_of(const T& value) {
  if constexpr (kIsList<T>) {
    std::vector<std::string> parts;
    for (const auto& element : value) parts.push_back(text_of(element));
    return concat("[", base::join(parts), "]");
  } else if constexpr (std::is_same_v<T, std::string>) {
    return quoted_text(value);
  } else if constexpr (std::is_same_v<T, double>) {
    return number_text(value);
  } else {
    return std::to_string(value);
  }
}

int edit_distance(const std::string& a, const std::string& b) {
  std::vector<int> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    int diagonal = row[0];
    row[0] = static_cast<int>(i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const int substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row.back();
}

// The nearest of `names` at a distance of at most 2, and of at most a part of what was written (one
// letter in `letters`), since any two-letter words are 2 apart; empty: none.
std::string nearest(const std::string& written, const std::vector<std::string>& names,
                    int letters = 2) {
  int best = std::min<int>(2, static_cast<int>(written.size()) / letters);
  std::string result;
  for (const std::string& name : names) {
    const int distance = edit_distance(written, name);
    if (distance < best || (distance == best && result.empty())) {
      best = distance;
      result = name;
    }
  }
  return result;
}

std::string did_you_mean(const std::string& name) {
  return name.empty() ? "" : concat(" (did you mean '", name, "'?)");
}

// The same for values: their words are short, and gpu is not cpu. They differ by capitals often; a
// text with a slash is a path.
std::string nearest_word(std::string written, const std::vector<std::string>& words) {
  if (written.find('/') != std::string::npos) return "";
  for (char& c : written) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return nearest(written, words, 4);
}

// Whether a single value, or each element of a list, is legal.
template <class T>
bool is_legal(const Field& field, const T& value) {
  if constexpr (kIsList<T>) {
    return std::ranges::all_of(value,
                               [&](const auto& element) { return is_legal(field, element); });
  } else if constexpr (std::is_same_v<T, std::string>) {
    if (field.preset && value.empty()) return true;
    if (!field.allowed.empty())
      return std::ranges::find(field.allowed, value) != field.allowed.end();
    return std::ranges::find(field.words, value) != field.words.end() ||
           nearest_word(value, field.words).empty();
  } else {
    return field.range.contains(static_cast<double>(value));
  }
}

// Of a text that is not legal.
std::string text_problem(const Field& field, const std::string& value) {
  if (!field.allowed.empty())
    return concat("must be ", base::join(field.allowed, " | "), ", not ", text_of(value),
                  did_you_mean(nearest_word(value, field.allowed)));
  return concat("must be ", base::join(field.words, " | "), " or a path, not ", text_of(value),
                " (did you mean '", nearest_word(value, field.words),
                "'? A path of this name is written ./", value, ")");
}

}  // namespace

bool Range::contains(double value) const {
  return (above_min ? value > min : value >= min) && (below_max ? value < max : value <= max);
}

std::string Range::text() const {
  const bool has_min = min > -std::numeric_limits<double>::infinity();
  const bool has_max = max < std::numeric_limits<double>::infinity();
  if (has_min && has_max && !above_min && !below_max)
    return concat(limit_text(min), " to ", limit_text(max));
  std::string text;
  if (has_min) text = above_min ? concat("above ", limit_text(min)) : limit_text(min) + " or more";
  if (has_min && has_max) text += ", ";
  if (has_max) text += concat(below_max ? "below " : "at most ", limit_text(max));
  return text;
}

std::string legal_values(const Field& field) {
  if (!field.allowed.empty()) return base::join(field.allowed, " | ");
  if (!field.words.empty()) return concat(base::join(field.words, " | "), " | text");
  const ConstMember value = field.value(Config());
  std::string type = std::visit(
      [](const auto* member) -> std::string {
        using T = std::remove_cvref_t<decltype(*member)>;
        if constexpr (std::is_same_v<T, std::vector<std::int64_t>>)
          return "list of integers";
        else if constexpr (std::is_same_v<T, std::vector<std::string>>)
          return "list of texts";
        else if constexpr (std::is_same_v<T, std::string>)
          return "text";
        else if constexpr (std::is_same_v<T, double>)
          return "number";
        else if constexpr (std::is_same_v<T, std::uint64_t>)
          return "integer, 0 or more";
        else
          return "integer";
      },
      value);
  const std::string range = field.range.text();
  return range.empty() ? type : type + ", " + range;
}

std::string value_problem(const Field& field, const Config& config) {
  return std::visit(
      [&](const auto* value) -> std::string {
        if (is_legal(field, *value)) return "";
        using T = std::remove_cvref_t<decltype(*value)>;
        if constexpr (std::is_same_v<T, std::string>) return text_problem(field, *value);
        return concat("must be ", field.range.text(), ", not ", text_of(*value));
      },
      field.value(config));
}

std::string value_text(const Field& field, const Config& config) {
  return std::visit([](const auto* value) { return text_of(*value); }, field.value(config));
}

std::string advice_for_key(const std::string& section, const std::string& key) {
  // Its exact name or an alias, first in this section, then anywhere.
  for (const bool same_section : {true, false}) {
    for (const Field& field : schema()) {
      if ((field.section == section) != same_section) continue;
      if (field.key == key) return concat(" (it belongs to section '", field.section, "')");
      if (std::ranges::find(field.aliases, key) != field.aliases.end())
        return did_you_mean(same_section ? field.key : field.name());
    }
  }
  std::vector<std::string> keys;
  for (const Field& field : schema())
    if (field.section == section) keys.push_back(field.key);
  return did_you_mean(nearest(key, keys));
}

std::string advice_for_section(const std::string& name) {
  for (const Field& field : schema())
    if (field.key == name)
      return concat(" (key '", name, "' belongs to section '", field.section, "')");
  const std::string section = nearest(name, section_names());
  if (!section.empty()) return did_you_mean(section);
  const std::string key = advice_for_key("", name);
  return key.empty() ? concat("; sections are ", base::join(section_names())) : key;
}

}  // namespace seq1f1b::config

// The configuration and its description for people.
#include <algorithm>
#include <iomanip>
#include <ostream>
#include <sstream>

#include "core/base/text.h"
#include "core/config/load.h"
#include "core/config/schema.h"
#include "kernels/common/errors.h"

namespace seq1f1b::config {
namespace {

constexpr std::size_t kLegalWidth = 38;  // of the column of values
constexpr std::size_t kLineWidth = 120;

// Breaks `text` between words into lines of at most `width` characters.
std::vector<std::string> wrapped(const std::string& text, std::size_t width) {
  std::vector<std::string> lines(1);
  std::istringstream words(text);
  for (std::string word; words >> word;) {
    std::string& line = lines.back();
    if (line.empty())
      line = word;
    else if (line.size() + 1 + word.size() <= width)
      line += " " + word;
    else
      lines.push_back(word);
  }
  return lines;
}

struct HelpRow {
  std::string key, value, legal, help;
};

void print_section(std::ostream& out, const std::string& section) {
  const Config defaults;
  std::vector<HelpRow> rows;
  std::size_t key_width = 3, value_width = 7, legal_width = 6;
  for (const Field& field : schema()) {
    if (field.section != section) continue;
    std::string value = field.preset ? "(family)" : value_text(field, defaults);
    if (value == "\"\"") value = "(not set)";
    HelpRow row{field.key, std::move(value), legal_values(field), field.help};
    key_width = std::max(key_width, row.key.size());
    value_width = std::max(value_width, row.value.size());
    for (const std::string& line : wrapped(row.legal, kLegalWidth))
      legal_width = std::max(legal_width, line.size());
    rows.push_back(std::move(row));
  }
  rows.insert(rows.begin(), HelpRow{"key", "default", "values", "meaning"});
  const std::size_t indent = 2 + key_width + 2 + value_width + 2 + legal_width + 2;
  const std::size_t help_width = kLineWidth - std::min(kLineWidth - 24, indent);
  out << section << ":\n";
  for (const HelpRow& row : rows) {
    const auto legal = wrapped(row.legal, kLegalWidth), help = wrapped(row.help, help_width);
    for (std::size_t i = 0; i < std::max(legal.size(), help.size()); ++i) {
      const auto cell = [&](const std::string& text, std::size_t width) {
        out << std::left << std::setw(static_cast<int>(width + 2)) << text;
      };
      out << "  ";
      cell(i == 0 ? row.key : "", key_width);
      cell(i == 0 ? row.value : "", value_width);
      cell(i < legal.size() ? legal[i] : "", i < help.size() ? legal_width : 0);
      out << (i < help.size() ? help[i] : "") << "\n";
    }
  }
}

}  // namespace

std::string to_yaml(const Config& config, const Origins* origins) {
  std::ostringstream out;
  std::string section;
  for (const Field& field : schema()) {
    if (field.section != section) {
      section = field.section;
      out << section << ":\n";
    }
    const std::string value = value_text(field, config);
    if (value == "\"\"") {  // which could not be loaded again
      out << "  # " << field.key << ": not set\n";
      continue;
    }
    std::string line = concat("  ", field.key, ": ", value);
    if (origins != nullptr) {
      const auto origin = origins->find(field.name());
      if (origin != origins->end()) {
        line.resize(std::max<std::size_t>(line.size(), 50), ' ');
        line += "  # " + origin->second;
      }
    }
    out << line << "\n";
  }
  return out.str();
}

void print_help(std::ostream& out, const std::string& section) {
  if (section.empty()) {
    for (const std::string& name : section_names()) {
      if (name != section_names().front()) out << "\n";
      print_section(out, name);
    }
    return;
  }
  if (!is_section(section)) {
    throw ConfigError(
        concat("there is no section '", section, "'; sections are ", base::join(section_names())));
  }
  print_section(out, section);
}

}  // namespace seq1f1b::config

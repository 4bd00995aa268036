// YAML and overrides into a Config. yaml-cpp parses; what it lets pass (duplicate and merge keys,
// octal numbers) is refused here, and every problem is told with its place.
#include "core/config/load.h"

#include <yaml-cpp/yaml.h>

#include <type_traits>

#include "core/base/files.h"
#include "core/config/problems.h"
#include "core/config/scalar.h"
#include "core/config/schema.h"
#include "kernels/common/errors.h"

namespace seq1f1b::config {
namespace {

// yaml-cpp marks a scalar that was written with quotes by this tag.
bool is_quoted(const YAML::Node& node) { return node.Tag() == "!"; }

const char* kind_of(const YAML::Node& node) {
  if (node.IsMap()) return "a map";
  if (node.IsSequence()) return "a list";
  return node.IsNull() ? "empty" : "a single value";
}

constexpr const char* kNoValue =
    "has no value (a variable that is not set?); remove the key to get the default";

bool is_blank(const std::string& text) {
  return text.find_first_not_of(" \t\r\n") == std::string::npos;
}

// As a file spells a value that is not there; no text that anybody means.
bool is_yaml_for_nothing(const std::string& text) {
  return text == "\"\"" || text == "''" || text == "~" || text == "null" || text == "Null" ||
         text == "NULL";
}

// Reads one value from a scalar; returns what is wrong, or nothing.
template <class Value>
std::string read_scalar(const YAML::Node& node, Value& value) {
  const std::string text = node.Scalar();
  if constexpr (std::is_same_v<Value, std::string>) {
    value = text;
    return "";
  } else {
    if (is_quoted(node)) return concat("\"", text, "\" is a text; write the number without quotes");
    return read_number(text, value);
  }
}

std::string read_value(const YAML::Node& node, auto& value) {
  if (node.IsNull()) return kNoValue;
  if (!node.IsScalar()) return concat("must be a single value, not ", kind_of(node));
  if (is_blank(node.Scalar())) return kNoValue;
  return read_scalar(node, value);
}

// A single value stands for a list of one.
template <class Element>
std::string read_value(const YAML::Node& node, std::vector<Element>& values) {
  std::vector<Element> result;
  if (node.IsSequence()) {
    for (const YAML::Node& element : node) {
      const std::string problem = read_value(element, result.emplace_back());
      if (problem == kNoValue)
        return concat("element ", result.size(), " has no value (a variable that is not set?)");
      if (!problem.empty()) return problem;
    }
  } else {
    const std::string problem = read_value(node, result.emplace_back());
    if (!problem.empty()) return problem;
  }
  values = std::move(result);
  return "";
}

class Reader {
 public:
  // `saved`: see load_saved.
  explicit Reader(std::string path, bool saved = false) : path_(std::move(path)), saved_(saved) {
    for (const Field& field : schema()) loaded_.origins[field.name()] = "default";
  }

  void read_document(const std::string& text) {
    std::vector<YAML::Node> documents;
    try {
      documents = YAML::LoadAll(text);
    } catch (const YAML::Exception& error) {
      problems_.add(place(error.mark), "not valid YAML: ", error.msg);
      return;
    }
    if (documents.empty() || documents.front().IsNull()) {
      problems_.add(path_, ": the file is empty; {} asks for all defaults");
    } else if (documents.size() > 1) {
      problems_.add(place(documents[1].Mark()), "a second YAML document; one is expected");
    } else if (!documents.front().IsMap()) {
      problems_.add(place(documents.front().Mark()), "sections are expected, not ",
                    kind_of(documents.front()));
    } else {
      read_map(
          documents.front(), "the file",
          [this](const YAML::Node& key, const YAML::Node& value) { read_section(key, value); });
    }
  }

  void apply_override(const std::string& override) {
    const std::string where = concat("command line: ", override, ": ");
    const std::size_t equals = override.find('=');
    const std::size_t dot = override.find('.');
    if (equals == std::string::npos || dot == std::string::npos || dot > equals) {
      problems_.add(where, "an override looks like section.key=value");
      return;
    }
    const std::string section = override.substr(0, dot);
    const std::string key = override.substr(dot + 1, equals - dot - 1);
    if (!is_section(section)) {
      problems_.add(where, "unknown section '", section, "'", advice_for_section(section));
      return;
    }
    const Field* field = find_field(section, key);
    if (field == nullptr) {
      problems_.add(where, "unknown key '", key, "' in section '", section, "'",
                    advice_for_key(section, key));
      return;
    }
    // Only lists are YAML here, so that texts may hold any character.
    const std::string text = override.substr(equals + 1);
    if (is_yaml_for_nothing(text)) {
      problems_.add(where, field->name(), ": ", text, " is no value; remove the override to leave ",
                    "the key as it is, or give ", legal_values(*field), " (", field->help, ")");
      return;
    }
    YAML::Node node(text);
    if (text.starts_with("[")) {
      try {
        node = YAML::Load(text);
      } catch (const YAML::Exception& error) {
        problems_.add(where, "not a valid list: ", error.msg);
        return;
      }
      // YAML takes a comma at the end for none, which hides a variable that is not set.
      const std::size_t last = text.find_last_not_of("] \t");
      if (last != std::string::npos && text[last] == ',') {
        problems_.add(where, "the last element has no value (a variable that is not set?)");
        return;
      }
    }
    const bool is_partition = field->name() == "schedule.partition";
    if (is_partition && text != "lengths") drop_lengths();
    assign(*field, node, where, kCommandLine);
  }

  Loaded finish() {
    problems_.throw_if_any();
    return std::move(loaded_);
  }

 private:
  std::string place(const YAML::Mark& mark) const {
    if (mark.line < 0) return path_ + ": ";
    return concat(path_, ":", mark.line + 1, ":", mark.column + 1, ": ");
  }

  // Calls read(key, value) for each pair with a usable key that was not there before.
  template <class Read>
  void read_map(const YAML::Node& map, const std::string& what, const Read& read) {
    std::map<std::string, int> lines;
    for (const auto& pair : map) {
      const YAML::Node& key = pair.first;
      if (!key.IsScalar()) {
        problems_.add(place(key.Mark()), "a key must be a word, not ", kind_of(key));
        continue;
      }
      const std::string name = key.Scalar();
      if (name == "<<") {
        problems_.add(place(key.Mark()), "merge keys (<<) are not supported; repeat the keys");
        continue;
      }
      const auto [first, is_new] = lines.emplace(name, key.Mark().line + 1);
      if (!is_new) {
        problems_.add(place(key.Mark()), "duplicate key '", name, "' in ", what,
                      ", first given at line ", first->second);
        continue;
      }
      read(key, pair.second);
    }
  }

  void read_section(const YAML::Node& key, const YAML::Node& value) {
    const std::string section = key.Scalar();
    if (!is_section(section)) {
      problems_.add(place(key.Mark()), "unknown section '", section, "'",
                    advice_for_section(section));
      return;
    }
    if (value.IsNull()) return;  // all of its keys commented out
    if (!value.IsMap()) {
      problems_.add(place(value.Mark()), "section '", section, "' must hold keys, not be ",
                    kind_of(value));
      return;
    }
    read_map(
        value, concat("section '", section, "'"),
        [&](const YAML::Node& name, const YAML::Node& node) { read_key(section, name, node); });
  }

  void read_key(const std::string& section, const YAML::Node& name, const YAML::Node& node) {
    const Field* field = find_field(section, name.Scalar());
    if (field == nullptr) {
      problems_.add(place(name.Mark()), "unknown key '", name.Scalar(), "' in section '", section,
                    "'", advice_for_key(section, name.Scalar()));
      return;
    }
    if (saved_ && node.IsScalar() && node.Scalar().empty()) return;
    // A value that is not there has no place of its own.
    const YAML::Mark mark = node.IsNull() ? name.Mark() : node.Mark();
    assign(*field, node, place(mark), concat(path_, ":", name.Mark().line + 1));
  }

  void assign(const Field& field, const YAML::Node& node, const std::string& where,
              const std::string& origin) {
    if (field.name() == "schedule.partition" && node.IsSequence()) {
      assign_lengths(node, where, origin);
      return;
    }
    const Config before = loaded_.config;
    std::string problem = std::visit([&](auto* value) { return read_value(node, *value); },
                                     field.member(loaded_.config));
    if (problem.empty()) problem = value_problem(field, loaded_.config);
    if (problem.empty()) {
      loaded_.origins[field.name()] = origin;
    } else {
      loaded_.config = before;
      problems_.add(where, field.name(), ": ", problem);
    }
  }

  // partition: [a, b] is short for partition: lengths with segment_lengths: [a, b].
  void assign_lengths(const YAML::Node& list, const std::string& where, const std::string& origin) {
    const Field* lengths = find_field("schedule", "segment_lengths");
    SEQ1F1B_ASSERT(lengths != nullptr, "schedule.segment_lengths");
    assign(*lengths, list, where, origin);
    loaded_.config.schedule.partition = "lengths";
    loaded_.origins["schedule.partition"] = origin;
  }

  // An override that asks for another partition replaces explicit lengths of the file.
  void drop_lengths() {
    loaded_.config.schedule.segment_lengths.clear();
    loaded_.origins["schedule.segment_lengths"] = "default";
  }

  std::string path_;
  bool saved_;
  Loaded loaded_;
  Problems problems_;
};

}  // namespace

Loaded load_text(const std::string& text, const std::string& path,
                 const std::vector<std::string>& overrides) {
  Reader reader(path);
  reader.read_document(text);
  for (const std::string& override : overrides) reader.apply_override(override);
  return reader.finish();
}

Loaded load_saved(const std::string& text, const std::string& path) {
  Reader reader(path, true);
  reader.read_document(text);
  return reader.finish();
}

Loaded load(const std::string& path, const std::vector<std::string>& overrides) {
  std::string text;
  try {
    text = base::read_file(path);
  } catch (const DataError& error) {  // a wrong argument, not damaged data
    throw ConfigError(concat(error.what(), " (the configuration file)"));
  }
  return load_text(text, path, overrides);
}

}  // namespace seq1f1b::config

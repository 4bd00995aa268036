#pragma once
// The one description of every configuration key. YAML reading, overrides, help, dump and the
// checks of single values all walk this table; a new key is a member in config.h and a row in
// schema.cpp.
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <variant>
#include <vector>

#include "core/config/config.h"

namespace seq1f1b::config {

using Member = std::variant<int*, std::int64_t*, std::uint64_t*, double*, std::string*,
                            std::vector<std::int64_t>*, std::vector<std::string>*>;
using ConstMember = std::variant<const int*, const std::int64_t*, const std::uint64_t*,
                                 const double*, const std::string*,
                                 const std::vector<std::int64_t>*, const std::vector<std::string>*>;

// Legal numbers; of a list, of each element.
struct Range {
  double min = -std::numeric_limits<double>::infinity();
  double max = std::numeric_limits<double>::infinity();
  bool above_min = false;  // min itself is illegal
  bool below_max = false;  // max itself is illegal

  bool contains(double value) const;
  std::string text() const;  // "1 or more", "above 0", "0 to 1", ""
};

struct Field {
  std::string section, key;
  std::string help;  // one line, with the unit
  std::function<Member(Config&)> member;
  std::function<ConstMember(const Config&)> value;
  Range range;
  std::vector<std::string> allowed;  // legal texts; empty: any
  std::vector<std::string> words;    // texts with a meaning of their own, where any is legal
  bool preset = false;               // the empty default means: as the model family has it
  std::vector<std::string> aliases;  // names in other programs, for "did you mean" only
  // A number that kernels take in the type they compute in: in fp32 it must not become 0, nor, where
  // `finite` is set, infinite.
  struct Single {
    bool nonzero = false, finite = false;
  } single;

  std::string name() const { return section + "." + key; }

  // Of the builder in schema.cpp.
  Field& at_least(double min);
  Field& above(double min);
  Field& at_most(double max);
  Field& below(double max);
  Field& one_of(std::vector<std::string> texts);
  Field& with_words(std::vector<std::string> texts);
  Field& representable(bool finite = true);
  Field& by_family();
  Field& also_called(std::vector<std::string> names);
};

// In the order of the sections and of their members.
const std::vector<Field>& schema();
const std::vector<std::string>& section_names();
bool is_section(const std::string& name);
const Field* find_field(const std::string& section, const std::string& key);  // nullptr: unknown

// What a value may be: "integer, 1 or more", "even | flops | lengths", "list of texts".
std::string legal_values(const Field& field);
// What is wrong with the field's value in `config`, as "must be ..., not ..."; empty: nothing.
std::string value_problem(const Field& field, const Config& config);
// The value as YAML: flow lists, shortest exact numbers, texts quoted where YAML needs it.
std::string value_text(const Field& field, const Config& config);

// The advice for an unknown key, e.g. " (did you mean 'num_layers'?)"; may be empty. Looks for the
// key in other sections, for its names in other programs, and for the nearest key.
std::string advice_for_key(const std::string& section, const std::string& key);
std::string advice_for_section(const std::string& name);

}  // namespace seq1f1b::config

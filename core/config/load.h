#pragma once
// From files and command line to a checked Config.
#include <iosfwd>
#include <map>
#include <string>
#include <vector>

#include "core/config/config.h"

namespace seq1f1b::config {

// Where each "section.key" got its value: "default", "run.yaml:12", "command line", "family gpt3",
// "derived".
using Origins = std::map<std::string, std::string>;
inline constexpr const char* kCommandLine = "command line";

struct Loaded {
  Config config;
  Origins origins;
};

// Reads one YAML file and applies overrides "section.key=value" in order. Throws ConfigError with
// file:line:column and the nearest valid key for anything unknown, duplicate or mistyped; all
// problems of the file and the overrides in one message. A key without a value, or with an empty
// one, is refused: it is a variable that was not set more often than a wish.
Loaded load(const std::string& path, const std::vector<std::string>& overrides);
// The same from text; `path` only names the source in messages.
Loaded load_text(const std::string& text, const std::string& path,
                 const std::vector<std::string>& overrides);
// The config.resolved.yaml of a checkpoint. Empty texts stand for the default there: version 0.1.0
// wrote them.
Loaded load_saved(const std::string& text, const std::string& path);

// Fills in family presets and derived zeros (vocab_size stays 0 when only the tokenizer knows it).
void resolve(Loaded& loaded);

// Cross-field checks of a resolved Config for `world_size` ranks (0: tp * cp * pp). Throws one
// ConfigError that lists every failing equation with its numbers and legal neighbours, and, given
// the origins, which of its keys come from the command line.
Derived validate(const Config& config, int world_size, const Origins* origins = nullptr);

// Valid YAML with all keys, those that are not set as comments; with origins as comments when
// given. load_text(to_yaml(c)) == c.
std::string to_yaml(const Config& config, const Origins* origins = nullptr);

// Every key with type, default, allowed values and one line of help; `section` "" for all.
void print_help(std::ostream& out, const std::string& section = "");

}  // namespace seq1f1b::config

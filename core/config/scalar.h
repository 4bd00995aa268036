#pragma once
// Numbers and texts of YAML, read strictly: what two YAML readers could take for two different
// values is refused. Each reader returns what is wrong, or an empty text and sets `value`.
#include <cstdint>
#include <string>

namespace seq1f1b::config {

// Decimal; 1e9 and 2.5e3 are whole numbers too. Refuses 010 (octal in YAML 1.1), 1_000, 0x10.
std::string read_number(const std::string& text, int& value);
std::string read_number(const std::string& text, std::int64_t& value);
std::string read_number(const std::string& text, std::uint64_t& value);
// Finite decimal numbers.
std::string read_number(const std::string& text, double& value);

// The shortest text that reads back as the same number.
std::string number_text(double value);
// As a YAML scalar, quoted unless it is a plain word, path, true or false.
std::string quoted_text(const std::string& text);

}  // namespace seq1f1b::config

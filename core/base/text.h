#pragma once
// Numbers and lists as people read them.
#include <cstdint>
#include <string>
#include <vector>

namespace seq1f1b::base {

// "0 B", "999 B", "1.25 GiB": three significant digits and the binary unit.
std::string bytes_text(std::uint64_t bytes);

// "a, b, c".
std::string join(const std::vector<std::string>& parts, const std::string& separator = ", ");

}  // namespace seq1f1b::base

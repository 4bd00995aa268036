#pragma once
#include <string>

namespace seq1f1b::apps {

// Replaces \n, \t, \r and \\ by the bytes they stand for; throws ConfigError for any other escape.
std::string replace_escapes(const std::string& text);

}  // namespace seq1f1b::apps

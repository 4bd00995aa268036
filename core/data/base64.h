#pragma once
// Base64 with padding, RFC 4648 section 4: binary in JSON strings.
#include <optional>
#include <string>
#include <string_view>

namespace seq1f1b::data {

std::string base64_encode(std::string_view bytes);
// Empty when `text` is not base64 (length, alphabet or padding).
std::optional<std::string> base64_decode(std::string_view text);

}  // namespace seq1f1b::data

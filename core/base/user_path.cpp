#include "core/base/user_path.h"

#include <cctype>

#include "kernels/common/errors.h"

namespace seq1f1b::base {
namespace {

// "${HOME", "$(pwd", "$HOME" at `at`; empty where the sign stands for itself.
std::string variable_at(const std::string& path, std::size_t at) {
  const auto is_name = [&](std::size_t i) {
    return i < path.size() &&
           (path[i] == '_' || std::isalnum(static_cast<unsigned char>(path[i])) != 0);
  };
  std::size_t end = at + 1;
  const bool braced = end < path.size() && (path[end] == '{' || path[end] == '(');
  if (braced)
    ++end;
  else if (!is_name(end) || std::isdigit(static_cast<unsigned char>(path[end])) != 0)
    return "";
  while (is_name(end)) ++end;
  if (braced && end < path.size() && (path[end] == '}' || path[end] == ')')) ++end;
  return path.substr(at, end - at);
}

}  // namespace

std::string path_problem(const std::string& path) {
  if (path.starts_with('~'))
    return concat("'", path, "' begins with ~, which only a shell replaces, and none did: write ",
                  "the path out (or ./", path, " for a name that begins so)");
  for (std::size_t at = path.find('$'); at != std::string::npos; at = path.find('$', at + 1))
    if (const std::string variable = variable_at(path, at); !variable.empty())
      return concat(
          "'", path, "' holds ", variable, ", which only a shell replaces, and none ",
          "did: write the path out, or give it on the command line without single quotes");
  return "";
}

}  // namespace seq1f1b::base

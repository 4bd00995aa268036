#pragma once
// Paths as people give them, in a configuration or on the command line.
#include <string>

namespace seq1f1b::base {

// Why `path` is not what its writer meant: it begins with ~, or holds a variable, and no shell has
// replaced it, since nothing but a shell does. Empty when there is nothing to say. A folder that is
// really called so can be given as ./~.
std::string path_problem(const std::string& path);

}  // namespace seq1f1b::base

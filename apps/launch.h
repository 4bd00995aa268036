#pragma once
// How this process was launched and reports errors before MPI is started: a wrong configuration is
// refused, and reported once, before anything else happens.
#include <functional>
#include <string>

#include "core/comm/launcher.h"

namespace seq1f1b::apps {

using comm::Launch;
Launch read_launch();  // of this process

// Prints "seq1f1b: error: MESSAGE" to standard error.
void print_error(const std::string& message);

// Runs `check`, whose outcome is the same on every rank. A ConfigError is printed by rank 0 alone
// and its exit code returned; 0 when all is well.
int check_on_all_ranks(const std::function<void()>& check);

// Of a command that is one process: true among several ranks, where each would do the same and
// write the same files. Rank 0 says so.
bool refused_among_ranks(const std::string& command);

}  // namespace seq1f1b::apps

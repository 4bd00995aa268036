#pragma once
// How this process was launched, and how it reports what is wrong before anything else happens.
#include <functional>
#include <optional>
#include <string>

#include "core/comm/launcher.h"
#include "kernels/common/errors.h"

namespace seq1f1b::apps {

using comm::Launch;
Launch read_launch();  // of this process

// Throws an Error if standard output has not taken all that was written to it: for commands that
// print their result. A training run goes on though nobody watches it.
void require_output();

// Prints "seq1f1b: error: MESSAGE" to standard error.
void print_error(const std::string& message);

// With "rank N: " before it, where this is one of several ranks: they can fail for reasons of their
// own.
std::string with_rank(const std::string& message);

// What `check` throws, as an Error; nothing when all is well.
std::optional<Error> failure_of(const std::function<void()>& check);

// The end of a rank that cannot begin: the job says it once, whichever ranks it concerns
// (train::run_without), and all return the code. Where MPI cannot join the ranks, each that fails
// speaks for itself.
int refuse(const Error& failure);

// Of a command that is one process: true among several ranks, where each would do the same and
// write the same files. Rank 0 says so.
bool refused_among_ranks(const std::string& command);

}  // namespace seq1f1b::apps

#pragma once
// What the launcher (mpirun, srun) tells a process through its environment, readable before MPI is
// started: a wrong configuration is refused, and reported once, before anything else happens.
#include <functional>
#include <string>

namespace seq1f1b::apps {

struct Launch {
  bool launched = false;  // by a launcher that tells the number of ranks
  int rank = 0;
  int world_size = 1;
};
Launch read_launch();

// Prints "seq1f1b: error: MESSAGE" to standard error.
void print_error(const std::string& message);

// Runs `check`, whose outcome is the same on every rank. A ConfigError is printed by rank 0 alone
// and its exit code returned; 0 when all is well.
int check_on_all_ranks(const std::function<void()>& check);

}  // namespace seq1f1b::apps

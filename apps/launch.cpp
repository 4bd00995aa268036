#include "apps/launch.h"

#include <cstdlib>
#include <iostream>

#include "kernels/common/errors.h"

namespace seq1f1b::apps {

Launch read_launch() { return comm::read_launch(std::getenv); }

void print_error(const std::string& message) {
  std::cerr << concat("seq1f1b: error: ", message, "\n") << std::flush;
}

int check_on_all_ranks(const std::function<void()>& check) {
  try {
    check();
  } catch (const ConfigError& error) {
    if (read_launch().rank == 0) print_error(error.what());
    return error.code();
  }
  return kExitComplete;
}

bool refused_among_ranks(const std::string& command) {
  const Launch launch = read_launch();
  if (launch.world_size <= 1) return false;
  if (launch.rank == 0)
    print_error(concat("seq1f1b ", command, " is one process, and ", launch.world_size,
                       " were started: run it without mpirun or srun"));
  return true;
}

}  // namespace seq1f1b::apps

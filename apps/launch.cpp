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

}  // namespace seq1f1b::apps

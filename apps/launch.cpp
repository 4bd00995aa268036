#include "apps/launch.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <system_error>

#include "core/base/files.h"
#include "core/train/run.h"

namespace seq1f1b::apps {

Launch read_launch() { return comm::read_launch(std::getenv); }

void require_output() {
  errno = 0;
  const bool written = std::fflush(stdout) == 0 && std::ferror(stdout) == 0;
  if (written && std::cout) return;
  throw Error(kExitUnexpected,
              concat("cannot write standard output",
                     errno == 0 ? "" : ": " + std::generic_category().message(errno)));
}

void print_error(const std::string& message) {
  std::cerr << concat("seq1f1b: error: ", message, "\n") << std::flush;
}

std::string with_rank(const std::string& message) {
  const Launch launch = read_launch();
  return launch.world_size > 1 ? concat("rank ", launch.rank, ": ", message) : message;
}

std::optional<Error> failure_of(const std::function<void()>& check) {
  try {
    check();
  } catch (const std::filesystem::filesystem_error& error) {
    return DataError(base::text_of(error));
  } catch (const Error& error) {
    return error;
  } catch (const std::exception& error) {
    return Error(kExitUnexpected, error.what());
  }
  return std::nullopt;
}

int refuse(const Error& failure) {
  if (comm::can_join(std::getenv)) return train::run_without(failure);
  print_error(with_rank(failure.what()));
  return failure.code();
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

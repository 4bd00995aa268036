#include "apps/launch.h"

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <iostream>
#include <optional>

#include "kernels/common/errors.h"

namespace seq1f1b::apps {
namespace {

// The first of these variables that holds a non-negative integer.
std::optional<int> first_integer(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const char* text = std::getenv(name);
    if (text == nullptr) continue;
    int value = -1;
    const char* end = text + std::strlen(text);
    const auto [last, code] = std::from_chars(text, end, value);
    if (code == std::errc() && last == end && value >= 0) return value;
  }
  return std::nullopt;
}

}  // namespace

// Open MPI, PMIx and PMI (MPICH) come before Slurm: mpirun inside an allocation sets its own on
// top. Slurm's count is that of the step, because a batch script, which is no step, sees
// SLURM_NTASKS too (srun(1), OUTPUT ENVIRONMENT VARIABLES).
Launch read_launch() {
  Launch launch;
  launch.rank =
      first_integer({"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"}).value_or(0);
  const auto size = first_integer({"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"});
  launch.launched = size.has_value() && *size > 0;
  if (launch.launched) launch.world_size = *size;
  return launch;
}

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

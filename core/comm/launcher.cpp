#include "core/comm/launcher.h"

#include <array>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "kernels/common/errors.h"

namespace seq1f1b::comm {
namespace {

struct Launcher {
  const char* name;
  const char* size;  // variable that holds the number of tasks; null: it tells none
  const char* rank;  // and this task's number; null: whoever sees it need not be a task
};

// The first one set counts: mpirun inside a Slurm allocation, of one rank if so wished, sets both.
// Slurm's count is that of the step, because a batch script, which is no step, sees SLURM_NTASKS
// too (srun(1), OUTPUT ENVIRONMENT VARIABLES).
constexpr std::array<Launcher, 5> kLaunchers = {
    {{"mpirun of Open MPI", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"},
     {"PMIx", nullptr, "PMIX_RANK"},
     {"mpirun of another MPI", "PMI_SIZE", "PMI_RANK"},
     {"srun", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"},
     {"Slurm", "SLURM_NTASKS", nullptr}}};

// A variable's non-negative integer, if it has one.
std::optional<int> integer(const Environment& environment, const char* name) {
  const char* text = environment(name);
  if (text == nullptr) return std::nullopt;
  int value = -1;
  const char* end = text + std::strlen(text);
  const auto [last, code] = std::from_chars(text, end, value);
  if (code != std::errc() || last != end || value < 0) return std::nullopt;
  return value;
}

}  // namespace

Launch read_launch(const Environment& environment) {
  std::optional<int> rank, size;
  for (const Launcher& launcher : kLaunchers) {
    if (launcher.rank == nullptr) continue;
    if (!rank) rank = integer(environment, launcher.rank);
    if (!size && launcher.size != nullptr) size = integer(environment, launcher.size);
  }
  Launch launch;
  launch.launched = size.value_or(0) > 0;
  launch.rank = rank.value_or(0);
  if (launch.launched) launch.world_size = *size;
  return launch;
}

bool started_by_launcher(const Environment& environment) {
  for (const Launcher& launcher : kLaunchers)
    if (environment(launcher.size != nullptr ? launcher.size : launcher.rank) != nullptr)
      return true;
  return false;
}

bool can_join(const Environment& environment) {
  return integer(environment, "PMIX_RANK").has_value() && read_launch(environment).world_size > 1;
}

std::string launcher_mismatch(int mpi_size, const Environment& environment) {
  if (mpi_size > 1) return "";
  for (const Launcher& launcher : kLaunchers) {
    const char* value = launcher.size != nullptr ? environment(launcher.size) : nullptr;
    if (value == nullptr) continue;
    const long tasks = std::strtol(value, nullptr, 10);
    if (tasks <= 1) return "";
    return concat(launcher.name, " provides ", tasks, " tasks (", launcher.size, "=", value,
                  "), but MPI sees a single rank. Start the job with the mpirun of the MPI that "
                  "this program was built with, or with `srun --mpi=pmix`; for one rank on purpose "
                  "use `mpirun -n 1`.");
  }
  return "";
}

}  // namespace seq1f1b::comm

#include "core/comm/launcher.h"

#include <array>
#include <cstdlib>

#include "kernels/common/errors.h"

namespace seq1f1b::comm {
namespace {

struct Launcher {
  const char* variable;  // holds the number of tasks
  const char* name;
};

// The first one set counts: mpirun inside a Slurm allocation, of one rank if so wished, sets both.
// SLURM_NTASKS comes last, since a batch script sees it without any srun.
constexpr std::array<Launcher, 4> kLaunchers = {{{"OMPI_COMM_WORLD_SIZE", "mpirun of Open MPI"},
                                                 {"PMI_SIZE", "mpirun of another MPI"},
                                                 {"SLURM_STEP_NUM_TASKS", "srun"},
                                                 {"SLURM_NTASKS", "Slurm"}}};

}  // namespace

bool started_by_launcher(const Environment& environment) {
  for (const Launcher& launcher : kLaunchers) {
    if (environment(launcher.variable) != nullptr) return true;
  }
  return environment("PMIX_RANK") != nullptr;
}

std::string launcher_mismatch(int mpi_size, const Environment& environment) {
  if (mpi_size > 1) return "";
  for (const Launcher& launcher : kLaunchers) {
    const char* value = environment(launcher.variable);
    if (value == nullptr) continue;
    const long tasks = std::strtol(value, nullptr, 10);
    if (tasks <= 1) return "";
    return concat(launcher.name, " provides ", tasks, " tasks (", launcher.variable, "=", value,
                  "), but MPI sees a single rank. Start the job with the mpirun of the MPI that "
                  "this program was built with, or with `srun --mpi=pmix`; for one rank on purpose "
                  "use `mpirun -n 1`.");
  }
  return "";
}

}  // namespace seq1f1b::comm

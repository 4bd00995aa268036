#include "core/comm/launcher.h"

#include <map>

#include "tests/catch.h"

using namespace seq1f1b::comm;

namespace {

Environment environment_of(const std::map<std::string, std::string>& variables) {
  return [variables](const char* name) -> const char* {
    const auto found = variables.find(name);
    if (found == variables.end()) return nullptr;
    return found->second.c_str();
  };
}

std::string mismatch(int mpi_size, const std::map<std::string, std::string>& variables) {
  const Environment environment = environment_of(variables);
  return launcher_mismatch(mpi_size, environment);
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("a launcher whose tasks do not find each other is noticed") {
  CHECK(contains(mismatch(1, {{"SLURM_NTASKS", "4"}}), "Slurm provides 4 tasks (SLURM_NTASKS=4)"));
  CHECK(contains(mismatch(1, {{"SLURM_NTASKS", "4"}, {"SLURM_STEP_NUM_TASKS", "4"}}),
                 "srun provides 4 tasks"));
  CHECK(contains(mismatch(1, {{"PMI_SIZE", "2"}}), "mpirun of another MPI"));
  CHECK(contains(mismatch(1, {{"SLURM_NTASKS", "4"}}), "srun --mpi=pmix"));
}

TEST_CASE("jobs that agree with their launcher are left alone") {
  CHECK(mismatch(1, {}).empty());
  CHECK(mismatch(4, {{"SLURM_NTASKS", "4"}}).empty());
  CHECK(mismatch(2, {{"OMPI_COMM_WORLD_SIZE", "2"}}).empty());
  CHECK(mismatch(1, {{"SLURM_NTASKS", "1"}}).empty());
  // One rank on purpose, inside a larger allocation; by mpirun, or by srun -n 1.
  CHECK(mismatch(1, {{"SLURM_NTASKS", "4"}, {"OMPI_COMM_WORLD_SIZE", "1"}}).empty());
  CHECK(mismatch(1, {{"SLURM_NTASKS", "4"}, {"SLURM_STEP_NUM_TASKS", "1"}}).empty());
}

TEST_CASE("a single process knows that no launcher started it") {
  CHECK_FALSE(started_by_launcher(environment_of({})));
  CHECK(started_by_launcher(environment_of({{"OMPI_COMM_WORLD_SIZE", "1"}})));
  CHECK(started_by_launcher(environment_of({{"PMIX_RANK", "0"}})));
}

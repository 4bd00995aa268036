#include "core/comm/launcher.h"

#include <map>
#include <string>
#include <tuple>

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

TEST_CASE("ranks can be joined where what started them speaks PMIx") {
  const auto joins = [](const std::map<std::string, std::string>& variables) {
    return can_join(environment_of(variables));
  };
  CHECK(joins({{"OMPI_COMM_WORLD_SIZE", "4"}, {"OMPI_COMM_WORLD_RANK", "3"}, {"PMIX_RANK", "3"}}));
  CHECK(joins({{"SLURM_STEP_NUM_TASKS", "4"}, {"SLURM_PROCID", "1"}, {"PMIX_RANK", "1"}}));
  CHECK_FALSE(joins({{"SLURM_STEP_NUM_TASKS", "4"}, {"SLURM_PROCID", "1"}}));
  CHECK_FALSE(joins({{"OMPI_COMM_WORLD_SIZE", "1"}, {"PMIX_RANK", "0"}}));
  CHECK_FALSE(joins({}));
}

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

TEST_CASE("rank and size are read before MPI is started") {
  const auto read = [](const std::map<std::string, std::string>& variables) {
    const Launch launch = read_launch(environment_of(variables));
    return std::tuple(launch.launched, launch.rank, launch.world_size);
  };
  CHECK(read({}) == std::tuple(false, 0, 1));
  CHECK(read({{"OMPI_COMM_WORLD_SIZE", "4"}, {"OMPI_COMM_WORLD_RANK", "3"}}) ==
        std::tuple(true, 3, 4));
  CHECK(read({{"PMI_SIZE", "2"}, {"PMI_RANK", "1"}}) == std::tuple(true, 1, 2));
  CHECK(read({{"SLURM_STEP_NUM_TASKS", "8"}, {"SLURM_PROCID", "5"}, {"PMIX_RANK", "5"}}) ==
        std::tuple(true, 5, 8));
  // mpirun of one rank in an allocation of four; a batch script, which is no task.
  CHECK(read({{"OMPI_COMM_WORLD_SIZE", "1"},
              {"OMPI_COMM_WORLD_RANK", "0"},
              {"SLURM_STEP_NUM_TASKS", "4"},
              {"SLURM_PROCID", "2"}}) == std::tuple(true, 0, 1));
  CHECK(read({{"SLURM_NTASKS", "4"}, {"SLURM_PROCID", "0"}}) == std::tuple(false, 0, 1));
  CHECK(read({{"PMI_SIZE", "two"}, {"PMI_RANK", "-1"}}) == std::tuple(false, 0, 1));
}

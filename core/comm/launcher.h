#pragma once
// What the launcher (mpirun, srun) tells a process through its environment: readable before MPI is
// started, and to be compared with what MPI finds.
#include <functional>
#include <string>

namespace seq1f1b::comm {

// Value of an environment variable, null when it is not set; std::getenv but for tests.
using Environment = std::function<const char*(const char*)>;

struct Launch {
  bool launched = false;  // by a launcher that tells the number of ranks
  int rank = 0;
  int world_size = 1;
};
Launch read_launch(const Environment& environment);

// True when a launcher (mpirun, srun) started this process as one of its tasks.
bool started_by_launcher(const Environment& environment);

// Whether MPI can find this process's peers: it was started by what speaks PMIx, as mpirun and
// `srun --mpi=pmix` do.
bool can_join(const Environment& environment);

// Empty when the two agree. Otherwise the launcher started several tasks and MPI sees one rank in
// each: every task would train on its own. Says what to do about it.
std::string launcher_mismatch(int mpi_size, const Environment& environment);

}  // namespace seq1f1b::comm

#pragma once
// What to change when the planned memory does not fit a device.
#include <cstddef>
#include <string>
#include <vector>

#include "core/plan/job_plan.h"

namespace seq1f1b::plan {

// One change of the configuration and what the fullest rank would then need.
struct Knob {
  std::string setting;  // "schedule.segments=8"
  std::size_t needed_bytes = 0;
};

// At most three changes that need less memory than `job` does, the least drastic first: among those
// that fit into `limit` in the order segments, schedule, micro-batch, stages; then those that do
// not, by what they need. Pure.
std::vector<Knob> cheapest_knobs(const JobPlan& job, std::size_t limit);

// Largest needed bytes over the pipeline ranks.
std::size_t fullest_rank_bytes(const JobPlan& job);

// What `ranks` ranks may divide among themselves; bytes of 0 are unknown, and everything fits.
struct MemoryShare {
  std::size_t bytes = 0;
  int ranks = 1;
};
// Throws ConfigError with the need, the limit and the knobs unless what `rank` needs fits.
void require_fits(const JobPlan& job, int rank, std::size_t needed, const MemoryShare& share);

}  // namespace seq1f1b::plan

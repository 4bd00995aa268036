#pragma once
// What to change when the planned memory does not fit a device.
#include <cstddef>
#include <string>
#include <vector>

#include "core/runtime/job_plan.h"

namespace seq1f1b::runtime {

// One change of the configuration and what the fullest rank would then need.
struct Knob {
  std::string setting;  // "schedule.segments=8"
  std::size_t planned_bytes = 0;
};

// At most three changes that need less memory than `job` does, the least drastic first: among those
// that fit into `limit` in the order segments, schedule, micro-batch, stages; then those that do
// not, by what they need. Pure.
std::vector<Knob> cheapest_knobs(const JobPlan& job, std::size_t limit);

// Largest planned bytes over the pipeline ranks.
std::size_t fullest_rank_bytes(const JobPlan& job);

// Throws ConfigError with the plan, the limit and the knobs unless `planned` fits. A limit of 0 is
// unknown and fits everything.
void require_fits(const JobPlan& job, std::size_t planned, std::size_t limit);

}  // namespace seq1f1b::runtime

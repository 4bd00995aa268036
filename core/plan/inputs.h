#pragma once
// What a rank reads of the samples of a step, and the device memory for it.
#include <cstddef>

#include "core/plan/job_plan.h"

namespace seq1f1b::plan {

struct InputNeeds {
  bool tokens = false;  // the embedding
  bool labels = false;  // the head
  bool any() const { return tokens || labels; }
};
InputNeeds input_needs(const JobPlan& job, int pipeline_rank);

// Device memory for tokens, and as much for labels: int32, multiples of the tensor alignment.
struct InputBytes {
  std::size_t step = 0;  // of all units of a step
  std::size_t unit = 0;  // of the largest unit, from where actions read
};
InputBytes input_bytes(const JobPlan& job);
// Of both, as far as they are needed.
std::size_t input_bytes(const JobPlan& job, const InputNeeds& needs);

}  // namespace seq1f1b::plan

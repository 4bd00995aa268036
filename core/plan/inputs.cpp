#include "core/plan/inputs.h"

#include <cstdint>

#include "core/model/arena_layout.h"

namespace seq1f1b::plan {

InputNeeds input_needs(const JobPlan& job, int pipeline_rank) {
  InputNeeds needs;
  for (const int stage : job.stages_of(pipeline_rank)) {
    needs.tokens = needs.tokens || job.layers_of(stage).embedding;
    needs.labels = needs.labels || job.layers_of(stage).head;
  }
  return needs;
}

InputBytes input_bytes(const JobPlan& job) {
  const auto bytes = [](std::int64_t tokens) {
    return model::aligned(static_cast<std::size_t>(tokens) * sizeof(std::int32_t));
  };
  return {.step = bytes(job.sequences() * job.config.training.seq_length),
          .unit = bytes(job.units.most_rows())};
}

std::size_t input_bytes(const JobPlan& job, const InputNeeds& needs) {
  const InputBytes one = input_bytes(job);
  return (one.step + one.unit) * ((needs.tokens ? 1 : 0) + (needs.labels ? 1 : 0));
}

}  // namespace seq1f1b::plan

#include "core/simulate/timeline.h"
#include "kernels/common/errors.h"

namespace seq1f1b::simulate {

using schedule::Action;
using schedule::Kind;
using schedule::Schedule;

Cost unit_cost(const Schedule& schedule) {
  return [split = schedule.split_backward](const Action& action, int) {
    const schedule::KindRow& row = schedule::row_of(action.kind);
    return split ? row.split_unit_cost : row.unit_cost;
  };
}

Cost flops_cost(const Schedule& schedule, std::vector<StageFlops> stages,
                std::vector<std::int64_t> segment_lengths, int micro_batch_size) {
  SEQ1F1B_ASSERT(stages.size() == static_cast<std::size_t>(schedule.stages()), "costs of ",
                 stages.size(), " stages for ", schedule.stages());
  SEQ1F1B_ASSERT(segment_lengths.size() == static_cast<std::size_t>(schedule.spec.segments),
                 segment_lengths.size(), " lengths for ", schedule.spec.segments, " segments");
  // Per segment: tokens, and the (query, key) pairs of a causal mask with the keys before it.
  std::vector<double> tokens, pairs;
  double before = 0;
  for (const std::int64_t length : segment_lengths) {
    const auto own = static_cast<double>(length);
    tokens.push_back(micro_batch_size * own);
    pairs.push_back(micro_batch_size * own * (before + (own + 1) / 2));
    before += own;
  }
  const bool trains = schedule::kinds_of(schedule)[static_cast<std::size_t>(Kind::kBackward)];
  const bool split = schedule.split_backward;
  return [=, stages = std::move(stages)](const Action& action, int stage) {
    const StageFlops& flops = stages[static_cast<std::size_t>(stage)];
    const auto segment = static_cast<std::size_t>(action.unit.segment);
    switch (action.kind) {
      case Kind::kForward:
        return tokens[segment] * (flops.linear_forward + (trains ? 0 : flops.head_forward)) +
               pairs[segment] * flops.attention_forward;
      case Kind::kBackward:
        // Input and weight gradients of a linear layer cost the same; attention has no weights, and
        // the head takes its weight gradient at once.
        return tokens[segment] * (flops.linear_backward / (split ? 2 : 1) + flops.head_backward) +
               pairs[segment] * flops.attention_backward;
      case Kind::kWeightGrad:
        return tokens[segment] * flops.linear_backward / 2;
    }
    throw InternalError("unknown kind of action");
  };
}

}  // namespace seq1f1b::simulate

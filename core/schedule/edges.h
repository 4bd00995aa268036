#pragma once
// The edges of a schedule: who hands what to whom, and through how many buffers.
#include <vector>

#include "core/schedule/schedule.h"

namespace seq1f1b::schedule {

// One-way FIFO between two adjacent stages for one flow: a channel where they are on two ranks, a
// queue in the memory of the rank that has both.
struct Edge {
  int producing_stage = 0;
  Flow flow = Flow::kActivation;
  int from_rank = 0, to_rank = 0;

  bool is_local() const { return from_rank == to_rank; }
  int consuming_stage() const { return producing_stage + row_of(flow).stages_ahead; }
  // No two edges of a schedule have the same.
  int id() const { return kFlows * producing_stage + static_cast<int>(flow); }
};

// Of all flows that kinds of the schedule send, by lower stage and flow.
std::vector<Edge> edges_of(const Schedule& schedule);

// The edges that an action of a kind on a stage takes its input from and sends its output over:
// places in the edges that were given, -1 for none.
class EdgeMap {
 public:
  EdgeMap(const Schedule& schedule, const std::vector<Edge>& edges);
  struct Ends {
    int receives = -1, sends = -1;
  };
  const Ends& of(int stage, Kind kind) const {
    return ends_[static_cast<std::size_t>(stage) * kKinds + static_cast<std::size_t>(kind)];
  }

 private:
  std::vector<Ends> ends_;  // [stage][kind]
};

// Buffers of a local edge: the most messages in it at once, in the order of its rank. A message is
// there from the beginning of the action that writes it to the beginning of the one that takes it.
int local_buffers(const Schedule& schedule, const Edge& edge);

}  // namespace seq1f1b::schedule

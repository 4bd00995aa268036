#include "core/schedule/edges.h"

#include <algorithm>

#include "kernels/common/errors.h"

namespace seq1f1b::schedule {

std::vector<Edge> edges_of(const Schedule& schedule) {
  const auto sent = [&](Flow flow) {
    return std::ranges::any_of(action_table(), [&](const KindRow& row) {
      return row.sends == flow && schedule.has(row.kind);
    });
  };
  std::vector<int> rank_of(static_cast<std::size_t>(schedule.stages()));
  for (int stage = 0; stage < schedule.stages(); ++stage)
    rank_of[static_cast<std::size_t>(stage)] = place_of_stage(schedule, stage).rank;
  std::vector<Edge> edges;
  for (int lower = 0; lower + 1 < schedule.stages(); ++lower)
    for (const FlowRow& row : flow_table()) {
      if (!sent(row.flow)) continue;
      Edge edge{.producing_stage = row.stages_ahead > 0 ? lower : lower + 1, .flow = row.flow};
      edge.from_rank = rank_of[static_cast<std::size_t>(edge.producing_stage)];
      edge.to_rank = rank_of[static_cast<std::size_t>(edge.consuming_stage())];
      edges.push_back(edge);
    }
  return edges;
}

EdgeMap::EdgeMap(const Schedule& schedule, const std::vector<Edge>& edges)
    : ends_(static_cast<std::size_t>(schedule.stages()) * kKinds) {
  const auto at = [&](int stage, Kind kind) -> Ends& {
    return ends_[static_cast<std::size_t>(stage) * kKinds + static_cast<std::size_t>(kind)];
  };
  for (std::size_t i = 0; i < edges.size(); ++i)
    for (const KindRow& row : action_table()) {
      if (row.sends == edges[i].flow)
        at(edges[i].producing_stage, row.kind).sends = static_cast<int>(i);
      if (row.receives == edges[i].flow)
        at(edges[i].consuming_stage(), row.kind).receives = static_cast<int>(i);
    }
}

int local_buffers(const Schedule& schedule, const Edge& edge) {
  SEQ1F1B_ASSERT(edge.is_local(), "an edge from rank ", edge.from_rank, " to ", edge.to_rank);
  const auto rank = static_cast<std::size_t>(edge.from_rank);
  int inside = 0, most = 0;
  for (const Action& action : schedule.orders[rank]) {
    const int stage = stage_of(schedule, rank, action);
    const KindRow& row = row_of(action.kind);
    if (row.receives == edge.flow && stage == edge.consuming_stage()) --inside;
    if (row.sends == edge.flow && stage == edge.producing_stage) most = std::max(most, ++inside);
  }
  return most;
}

}  // namespace seq1f1b::schedule

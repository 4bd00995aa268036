#pragma once
// What a job asks of one pipeline rank: its rows of the table, its ends of channels, its memory.
// Pure; the `plan` command prints it, the runtime allocates exactly it.
#include <cstddef>
#include <vector>

#include "core/optimizer/optimizer.h"
#include "core/parameters/store.h"
#include "core/plan/job_plan.h"
#include "core/schedule/memory_plan.h"
#include "core/schedule/schedule.h"

namespace seq1f1b::plan {

// The rows of the table that a pipeline rank holds.
parameters::Layout layout_of(const JobPlan& job, int pipeline_rank);

// Device memory of one pipeline rank, in the order in which the arena holds it.
struct RankPlan {
  parameters::StoreBytes parameters;
  // Of a step, over all ranks: with norms and loss travel the labels, the busy seconds of a pass
  // and, in a place per rank, its length.
  optimizer::StepSums sums;
  std::size_t scalars = 0;   // those sums, loss, step constants
  std::size_t inputs = 0;    // tokens and labels of one step and of one unit
  std::size_t channels = 0;  // rings of all ends of edges
  std::size_t scratch = 0;   // of operations; none on devices that compute on the host
  schedule::MemoryPlan training, evaluation;

  std::size_t activations() const;  // packed: training or evaluation, whichever is larger
  std::size_t planned_bytes() const;
  std::size_t live_bytes() const;  // as planned_bytes, with the live maximum for the packed size
  // Beside the plan, by the device's library: see graph_estimate.h. 0 where nothing is captured.
  std::size_t graph_bytes = 0;
  std::size_t needed_bytes() const { return planned_bytes() + graph_bytes; }
  std::size_t cudnn_bytes = 0;  // likewise, an estimate; 0 where attention is our own
  // The largest checkpoint file staged; the samples of a step; pinned memory of a GPU.
  std::size_t host_bytes = 0;
};
RankPlan plan_rank(const JobPlan& job, int pipeline_rank);

// The edges that touch one rank, and their rings, in a fixed order. A local edge is one ring, both
// of whose ends are on the rank.
struct EdgeEnd {
  schedule::Edge edge;
  bool sends = false;
  int buffers = 0;
  std::size_t buffer_bytes = 0;  // of one buffer, aligned
};
std::vector<EdgeEnd> edge_ends(const JobPlan& job, int pipeline_rank);

}  // namespace seq1f1b::plan

#pragma once
// Everything that follows from a configuration before anything starts: model, schedules, segments,
// memory of every rank. Pure; the `plan` command prints it, the runtime allocates exactly it.
#include <cstdint>
#include <vector>

#include "core/comm/mesh.h"
#include "core/config/config.h"
#include "core/model/spec.h"
#include "core/model/stage.h"
#include "core/optimizer/optimizer.h"
#include "core/parameters/store.h"
#include "core/schedule/memory_plan.h"
#include "core/schedule/schedule.h"
#include "core/simulate/timeline.h"

namespace seq1f1b::runtime {

struct JobPlan {
  config::Config config;
  config::Derived derived;
  model::ModelSpec spec;
  model::Precision precision;
  parameters::Table table;
  schedule::Schedule training, evaluation;  // both proved by the validator
  std::vector<std::int64_t> segment_lengths;
  schedule::ChannelDepth depth;

  bool on_cuda() const { return config.runtime.device == "cuda"; }
  std::int64_t parameters() const;  // of the whole model, tied tensors once
  model::StageLayers layers_of(int stage) const;
  std::vector<int> stages_of(int pipeline_rank) const;  // by chunk
  // METHOD section 5: 3 * global_batch * (L H (4d+3) n^2 / 2 + Bc n).
  double model_flops_per_step() const;
  // Cost models for the simulator, per stage.
  std::vector<simulate::StageFlops> stage_flops() const;
  simulate::Timeline simulated(bool unit_costs) const;
};

// The types that a device computes and accumulates in, as `runtime` (validated) asks.
model::Precision precision_of(const config::RuntimeConfig& runtime);

// The grid of all ranks.
comm::Mesh mesh_of(const JobPlan& job);

// `config` is resolved and validated, its vocabulary known. Throws ConfigError when the schedule or
// the partition does not fit.
JobPlan plan_job(const config::Config& config, const config::Derived& derived);

// The rows of the table that a pipeline rank holds.
parameters::Layout layout_of(const JobPlan& job, int pipeline_rank);

// Device memory of one pipeline rank, in the order in which the arena holds it.
struct RankPlan {
  parameters::StoreBytes parameters;
  // Of a step, over all ranks: with norms and loss travel the busy seconds of a pass and, in a
  // place per rank, its length.
  optimizer::StepSums sums;
  std::size_t scalars = 0;   // those sums, loss, step constants
  std::size_t inputs = 0;    // tokens and labels of one step and of one unit
  std::size_t channels = 0;  // rings of all channel ends
  std::size_t scratch = 0;   // of operations; none on devices that compute on the host
  schedule::MemoryPlan training, evaluation;

  std::size_t activations() const;  // packed: training or evaluation, whichever is larger
  std::size_t planned_bytes() const;
  std::size_t live_bytes() const;  // as planned_bytes, with the live maximum for the packed size
  // Beside the plan, by the device's library: see record_estimate.h. 0 where nothing is recorded.
  std::size_t record_bytes = 0;
  std::size_t cudnn_bytes = 0;  // likewise, an estimate; 0 where attention is our own
  // The largest checkpoint file staged; the samples of a step; pinned memory of a GPU.
  std::size_t host_bytes = 0;
};
RankPlan plan_rank(const JobPlan& job, int pipeline_rank);

// Ends of the channels of one rank: ring sizes and peers, in a fixed order.
struct ChannelEnd {
  schedule::Channel channel;
  bool sends = false;
  int buffers = 0;
  std::size_t buffer_bytes = 0;  // of one buffer, aligned
};
std::vector<ChannelEnd> channel_ends(const JobPlan& job, int pipeline_rank);

}  // namespace seq1f1b::runtime

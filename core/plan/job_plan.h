#pragma once
// What follows from a configuration for the whole job before anything starts: model, segments,
// schedules, costs. Pure; rank_plan.h goes on with the memory of every rank.
#include <cstdint>
#include <string>
#include <vector>

#include "core/comm/mesh.h"
#include "core/config/config.h"
#include "core/model/arena_layout.h"
#include "core/model/spec.h"
#include "core/parameters/table.h"
#include "core/plan/unit_geometry.h"
#include "core/schedule/edges.h"
#include "core/schedule/schedule.h"
#include "core/simulate/timeline.h"

namespace seq1f1b::plan {

struct JobPlan {
  config::Config config;
  config::Derived derived;
  model::ModelSpec spec;
  model::Precision precision;
  parameters::Table table;
  schedule::Schedule training, evaluation;  // both proved by the validator
  std::vector<std::int64_t> segment_lengths;
  UnitGeometry units;

  bool on_cuda() const { return config.runtime.device == "cuda"; }
  std::int64_t parameters() const;  // of the whole model, tied tensors once
  std::int64_t sequences() const;   // of a step, of one replica
  // For people: "seq1f1b: 4 ranks, 8 micro-batches of 4 segments".
  std::string title() const;
  model::StageLayers layers_of(int stage) const;
  std::vector<int> stages_of(int pipeline_rank) const;  // by chunk
  // Bytes of the activation or gradient of a unit that stages send each other, and of the largest.
  std::size_t message_bytes(schedule::Unit unit) const;
  std::size_t most_message_bytes() const;
  double model_flops_per_step() const;  // of all replicas; model/flops.h
  // What the simulator runs the training schedule on: FLOPs, also without the head, which works on
  // one stage and no partition evens that out.
  simulate::Cost flops_cost(bool with_head = true) const;
  simulate::Timeline simulated(bool unit_costs) const;
};

// The types that a device computes and accumulates in, as `runtime` (validated) asks.
model::Precision precision_of(const config::RuntimeConfig& runtime);

// The grid of all ranks.
comm::Mesh mesh_of(const JobPlan& job);

// `config` is resolved and validated, its vocabulary known. Throws ConfigError when the schedule or
// the partition does not fit.
JobPlan plan_job(const config::Config& config, const config::Derived& derived);

}  // namespace seq1f1b::plan

#pragma once
// A schedule is data: per pipeline rank an order of actions, plus the placement of stages on ranks.
// All indices are 0-based; "rank" here is the pipeline coordinate. Source of the orders: METHOD of
// Seq1F1B (Sun et al., NAACL 2025, arXiv 2406.03488); see generators/ for each.
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/schedule/action_table.h"

namespace seq1f1b::schedule {

struct Unit {
  std::int32_t micro_batch = 0;
  std::int32_t segment = 0;
  friend bool operator==(const Unit&, const Unit&) = default;
};

struct Action {
  Kind kind = Kind::kForward;
  std::int16_t chunk = 0;  // which of the rank's stages
  Unit unit;
  friend bool operator==(const Action&, const Action&) = default;
};

using Order = std::vector<Action>;

struct Spec {
  std::string name = "seq1f1b";
  int ranks = 1;          // P
  int chunks = 1;         // v, stages per rank
  int micro_batches = 1;  // M
  int segments = 1;       // k
};

// Buffers at both ends of every channel.
struct ChannelDepth {
  int send_buffers = 1;
  int receive_buffers = 2;
};

struct Schedule {
  Spec spec;
  FeatureSet features = {Feature::kBackward};
  ChannelDepth depth = {};                  // with which it is free of deadlock
  std::vector<std::vector<int>> placement;  // [rank][chunk] -> stage
  std::vector<Order> orders;                // [rank]

  int stages() const { return spec.ranks * spec.chunks; }
  bool has(Feature feature) const { return features.has(feature); }
  bool has(Kind kind) const { return kinds_of(features).has(kind); }
};

// Where a stage lives.
struct Place {
  int rank = 0, chunk = 0;
};
Place place_of_stage(const Schedule& schedule, int stage);
// The stage that an action of a rank's order works on.
int stage_of(const Schedule& schedule, std::size_t rank, const Action& action);

// What must have run before a unit of a stage: the unit, on the stage, of the dependency's kind.
// Nothing beyond the ends of the pipeline and of the sequence.
struct Needed {
  int stage = 0;
  Unit unit;
};
std::optional<Needed> needed_for(const Schedule& schedule, const Dependency& dependency, int stage,
                                 Unit unit);

// "F1.2": letter of the kind, micro-batch and segment from 1; chunk c adds c times "'".
std::string to_string(const Action& action);
// The same in words: "forward of micro-batch 1, segment 2".
std::string describe(const Action& action);
// One line per rank, "p0 (w=4): F1.1 F1.2 | ..." as METHOD writes them; w counts warm-up forwards.
std::string to_string(const Schedule& schedule);

}  // namespace seq1f1b::schedule

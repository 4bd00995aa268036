#pragma once
// A schedule is data: per pipeline rank an order of actions, plus the placement of stages on ranks.
// All indices are 0-based; "rank" here is the pipeline coordinate. Source of the orders: METHOD of
// Seq1F1B (Sun et al., NAACL 2025, arXiv 2406.03488); see generators.cpp for each.
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

struct Schedule {
  Spec spec;
  bool split_backward = false;              // kBackward computes input gradients only
  std::vector<std::vector<int>> placement;  // [rank][chunk] -> stage
  std::vector<Order> orders;                // [rank]

  int stages() const { return spec.ranks * spec.chunks; }
};

// Pure. Names: see schedule_names(). Throws ConfigError with the broken rule and legal neighbours
// (e.g. segments > 1 with 1f1b, chunks > 1 with any schedule of this version). The result passes
// validate().
Schedule make_schedule(const Spec& spec);
// "gpipe", "1f1b", "terapipe", "seq1f1b", "forward_only".
std::vector<std::string> schedule_names();

// Which kinds of action occur: forward_only has forwards alone, only a split backward weight_grad.
std::array<bool, kKinds> kinds_of(const Schedule& schedule);

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

// ---- channels ---------------------------------------------------------------------------------
enum class Direction : std::uint8_t { kActivation, kGradient };

// One-way FIFO of an edge between the adjacent stages producing_stage and its successor in the
// direction (stage + 1 for activations, stage - 1 for gradients) on two different ranks. Edges
// inside one rank are hand-overs and do not appear, nor do directions that nothing in the schedule
// sends in (forward_only has no gradients).
struct Channel {
  int producing_stage = 0;
  Direction direction = Direction::kActivation;
  int from_rank = 0, to_rank = 0;

  int consuming_stage() const {
    return producing_stage + (direction == Direction::kActivation ? 1 : -1);
  }
  // No two channels of a schedule have the same.
  int id() const { return 2 * producing_stage + (direction == Direction::kActivation ? 0 : 1); }
};
std::vector<Channel> channels_of(const Schedule& schedule);

// Buffers at both ends of every channel.
struct ChannelDepth {
  int send_buffers = 1;
  int receive_buffers = 2;
};

// ---- validator --------------------------------------------------------------------------------
enum class Rule : std::uint8_t {
  kPlacement,     // every stage exactly once
  kIndexRange,    // chunk, micro-batch and segment exist
  kOnce,          // every action exactly once
  kMissing,       // an action of the step is absent
  kDependency,    // an action runs before one on its own rank that it needs
  kSegmentOrder,  // forwards ascend, backwards descend in the segments of a micro-batch
  kChannelOrder,  // producer and consumer of an edge disagree on the order of messages
  kDeadlock,      // the ranks wait for each other at this channel depth
};
const char* rule_name(Rule rule);

struct Violation {
  Rule rule;
  int rank = 0;
  std::size_t index = 0;  // position in the rank's order
  std::string sentence;   // for people: what is broken, which action, what it waits for
};

// Proves the schedule or names the first broken rule (rules are checked in the order of Rule).
// Empty: proved. Time O(actions).
std::vector<Violation> validate(const Schedule& schedule, ChannelDepth depth = {});
// Throws ConfigError with the first violation's sentence.
void require_valid(const Schedule& schedule, ChannelDepth depth = {});

}  // namespace seq1f1b::schedule

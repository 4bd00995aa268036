#pragma once
// The kinds of action and, per kind, everything that the validator, the memory plan, the simulator
// and the runtime need to know of it. A new kind is a new row here.
#include <array>
#include <cstdint>
#include <span>

namespace seq1f1b::schedule {

enum class Kind : std::uint8_t { kForward, kBackward, kWeightGrad };
inline constexpr int kKinds = 3;

// Where the action that must have run before lies, relative to the one that depends on it.
enum class Where : std::uint8_t {
  kSameUnit,         // same stage, same unit
  kPreviousStage,    // same unit, stage - 1 (no dependency on the first stage)
  kNextStage,        // same unit, stage + 1 (none on the last stage)
  kPreviousSegment,  // same stage, segment - 1 (none for segment 0)
  kNextSegment,      // same stage, segment + 1 (none for the last segment)
};

struct Dependency {
  Kind kind;
  Where where;
};

// Storage by lifetime. Each begins at the first action of `opened_by` in its scope and ends with
// the last action, in its scope, of whichever kinds of `used_by` occur in the schedule.
enum class Lifetime : std::uint8_t {
  kActivations,    // saved activations of (chunk, unit)
  kStash,          // output gradients that a split backward keeps for weight_grad, (chunk, unit)
  kCarry,          // K, V of (chunk, micro_batch)
  kCarryGradient,  // dK, dV of (chunk, micro_batch)
  kWorkspace,      // scratch of one action
};
inline constexpr int kLifetimes = 5;
enum class Scope : std::uint8_t { kAction, kUnit, kMicroBatch };

struct LifetimeRow {
  Lifetime lifetime;
  const char* name;
  Scope scope;
  Kind opened_by;
  std::array<bool, kKinds> used_by;  // indexed by Kind
  bool only_split_backward;
};
std::span<const LifetimeRow> lifetime_table();
const LifetimeRow& row_of(Lifetime lifetime);
// Whether an action of the kind uses storage of the row, in a schedule that splits the backward or
// does not. Every action uses its workspace.
bool uses(const LifetimeRow& row, Kind kind, bool split_backward);

enum class Flow : std::uint8_t { kNone, kActivation, kGradient };

struct KindRow {
  Kind kind;
  char letter;       // 'F', 'B', 'W'
  const char* name;  // "forward", "backward", "weight_grad"
  std::span<const Dependency> dependencies;
  Flow receives, sends;     // over the edge towards the sender / receiver; none at the ends
  bool ascending_segments;  // order of the segments of a micro-batch, where it matters
  bool descending_segments;
  bool reads_samples;      // tokens or labels of its unit, where the stage has a use for them
  double unit_cost;        // in units of one forward, unsplit: F 1, B 2
  double split_unit_cost;  // with split backward: F 1, B 1, W 1
};
std::span<const KindRow> action_table();
const KindRow& row_of(Kind kind);

}  // namespace seq1f1b::schedule

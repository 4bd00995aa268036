#pragma once
// The kinds of action and, per kind, everything that the validator, the memory plan, the simulator
// and the runtime need to know of it: what it depends on, what it sends, what storage it uses. A
// new kind is a new row here, and its work a new case of model::Stage.
#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "core/schedule/enum_set.h"

namespace seq1f1b::schedule {

enum class Kind : std::uint8_t { kForward, kBackward, kWeightGrad };
inline constexpr int kKinds = 3;
using KindSet = EnumSet<Kind>;

// What a schedule does. Kinds and lifetimes that require a feature occur in schedules that have it.
enum class Feature : std::uint8_t {
  kBackward,       // it trains; without, forwards alone evaluate
  kSplitBackward,  // backward computes input gradients only, weight_grad the rest
};
using FeatureSet = EnumSet<Feature>;

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

// Storage by lifetime. A piece lives, within its scope, from the first to the last action of the
// kinds that use it.
enum class Lifetime : std::uint8_t {
  kActivations,          // saved by a forward: all, or what weight_grad reads of it
  kBackwardActivations,  // saved by a forward: what weight_grad does not read of it
  kStash,                // output gradients that a split backward keeps for weight_grad
  kCarry,                // K, V of (chunk, micro_batch)
  kCarryGradient,        // dK, dV of (chunk, micro_batch)
  kWorkspace,            // scratch of one action
};
inline constexpr int kLifetimes = 6;
enum class Scope : std::uint8_t { kAction, kUnit, kMicroBatch };

struct LifetimeRow {
  Lifetime lifetime;
  const char* name;
  Scope scope;
  KindSet used_by;
  FeatureSet required = {};  // features that the schedule must have for it to exist,
  FeatureSet excluded = {};  // and features with which it does not

  bool exists_with(FeatureSet features) const {
    return features.includes(required) && !features.meets(excluded);
  }
};
std::span<const LifetimeRow> lifetime_table();
const LifetimeRow& row_of(Lifetime lifetime);
// Whether an action of the kind uses storage of the row, in a schedule with the features.
bool uses(const LifetimeRow& row, Kind kind, FeatureSet features);

// What stages send each other.
enum class Flow : std::uint8_t { kActivation, kGradient };
inline constexpr int kFlows = 2;
struct FlowRow {
  Flow flow;
  const char* name;  // "activation"
  int stages_ahead;  // of the producer, where its consumer is: 1 or -1
};
std::span<const FlowRow> flow_table();
const FlowRow& row_of(Flow flow);

// Order of the segments of a micro-batch on a stage.
enum class SegmentOrder : std::uint8_t { kAny, kAscending, kDescending };

struct KindRow {
  Kind kind;
  char letter;          // 'F', 'B', 'W'
  const char* name;     // "forward", "backward", "weight_grad"
  FeatureSet required;  // features of the schedules in which it runs, once for every unit
  std::optional<Kind> absorbed_by;  // the kind that does its work in schedules without it
  std::span<const Dependency> dependencies;
  std::optional<Flow> receives, sends;  // none at the ends of the pipeline
  SegmentOrder segments;
  bool reads_samples;  // tokens or labels of its unit, where the stage has a use for them
  double unit_cost;    // in forwards, without what it absorbs
};
std::span<const KindRow> action_table();
const KindRow& row_of(Kind kind);

// The kinds that run in a schedule with the features.
KindSet kinds_of(FeatureSet features);
// METHOD's unit costs, with what the kind absorbs: F 1, B 2; with a split backward F, B, W 1.
double unit_cost(Kind kind, FeatureSet features);

}  // namespace seq1f1b::schedule

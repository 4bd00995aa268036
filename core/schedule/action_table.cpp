#include "core/schedule/action_table.h"

#include "kernels/common/errors.h"

namespace seq1f1b::schedule {
namespace {

// Attention of a segment reads the K and V that the earlier segments of its micro-batch wrote.
constexpr Dependency kForwardNeeds[] = {
    {Kind::kForward, Where::kPreviousStage},
    {Kind::kForward, Where::kPreviousSegment},
};
// The gradients of a position's K and V need the share of every later segment.
constexpr Dependency kBackwardNeeds[] = {
    {Kind::kForward, Where::kSameUnit},
    {Kind::kBackward, Where::kNextStage},
    {Kind::kBackward, Where::kNextSegment},
};
constexpr Dependency kWeightGradNeeds[] = {{Kind::kBackward, Where::kSameUnit}};

constexpr KindRow kActions[] = {
    {.kind = Kind::kForward,
     .letter = 'F',
     .name = "forward",
     .dependencies = kForwardNeeds,
     .receives = Flow::kActivation,
     .sends = Flow::kActivation,
     .ascending_segments = true,
     .descending_segments = false,
     .reads_samples = true,
     .unit_cost = 1,
     .split_unit_cost = 1},
    {.kind = Kind::kBackward,
     .letter = 'B',
     .name = "backward",
     .dependencies = kBackwardNeeds,
     .receives = Flow::kGradient,
     .sends = Flow::kGradient,
     .ascending_segments = false,
     .descending_segments = true,
     .reads_samples = true,
     .unit_cost = 2,
     .split_unit_cost = 1},
    {.kind = Kind::kWeightGrad,
     .letter = 'W',
     .name = "weight_grad",
     .dependencies = kWeightGradNeeds,
     .receives = Flow::kNone,
     .sends = Flow::kNone,
     .ascending_segments = false,
     .descending_segments = false,
     .reads_samples = false,
     .unit_cost = 0,
     .split_unit_cost = 1},
};

constexpr std::array<bool, kKinds> kAll = {true, true, true};

constexpr LifetimeRow kStorage[] = {
    {Lifetime::kActivations, "activations", Scope::kUnit, Kind::kForward, kAll, false},
    {Lifetime::kStash, "stash", Scope::kUnit, Kind::kBackward, {false, true, true}, true},
    {Lifetime::kCarry, "carry", Scope::kMicroBatch, Kind::kForward, {true, true, false}, false},
    {Lifetime::kCarryGradient,
     "carry gradient",
     Scope::kMicroBatch,
     Kind::kBackward,
     {false, true, false},
     false},
    // Every action has its own; the opener is of no meaning here.
    {Lifetime::kWorkspace, "workspace", Scope::kAction, Kind::kForward, kAll, false},
};

// Rows are looked up by their position.
constexpr bool rows_are_in_order() {
  for (int kind = 0; kind < kKinds; ++kind)
    if (static_cast<int>(kActions[kind].kind) != kind) return false;
  for (int lifetime = 0; lifetime < kLifetimes; ++lifetime)
    if (static_cast<int>(kStorage[lifetime].lifetime) != lifetime) return false;
  return std::size(kActions) == kKinds && std::size(kStorage) == kLifetimes;
}
static_assert(rows_are_in_order());

}  // namespace

std::span<const KindRow> action_table() { return kActions; }
std::span<const LifetimeRow> lifetime_table() { return kStorage; }

bool uses(const LifetimeRow& row, Kind kind, bool split_backward) {
  return row.used_by[static_cast<std::size_t>(kind)] &&
         (split_backward || !row.only_split_backward);
}

const KindRow& row_of(Kind kind) {
  SEQ1F1B_ASSERT(static_cast<int>(kind) < kKinds, "kind ", static_cast<int>(kind));
  return kActions[static_cast<int>(kind)];
}

const LifetimeRow& row_of(Lifetime lifetime) {
  SEQ1F1B_ASSERT(static_cast<int>(lifetime) < kLifetimes, "lifetime ", static_cast<int>(lifetime));
  return kStorage[static_cast<int>(lifetime)];
}

}  // namespace seq1f1b::schedule

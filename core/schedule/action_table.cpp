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
     .required = {},
     .absorbed_by = {},
     .dependencies = kForwardNeeds,
     .receives = Flow::kActivation,
     .sends = Flow::kActivation,
     .segments = SegmentOrder::kAscending,
     .reads_samples = true,
     .unit_cost = 1},
    {.kind = Kind::kBackward,
     .letter = 'B',
     .name = "backward",
     .required = {Feature::kBackward},
     .absorbed_by = {},
     .dependencies = kBackwardNeeds,
     .receives = Flow::kGradient,
     .sends = Flow::kGradient,
     .segments = SegmentOrder::kDescending,
     .reads_samples = true,
     .unit_cost = 1},
    {.kind = Kind::kWeightGrad,
     .letter = 'W',
     .name = "weight_grad",
     .required = {Feature::kBackward, Feature::kSplitBackward},
     .absorbed_by = Kind::kBackward,
     .dependencies = kWeightGradNeeds,
     .receives = {},
     .sends = {},
     .segments = SegmentOrder::kAny,
     .reads_samples = true,
     .unit_cost = 1},
};

constexpr KindSet kForwardToWeightGrad = {Kind::kForward, Kind::kBackward, Kind::kWeightGrad};

constexpr LifetimeRow kStorage[] = {
    {Lifetime::kActivations, "activations", Scope::kUnit, kForwardToWeightGrad},
    {Lifetime::kBackwardActivations,
     "activations of the backward",
     Scope::kUnit,
     {Kind::kForward, Kind::kBackward},
     {Feature::kSplitBackward}},
    {Lifetime::kStash,
     "stash",
     Scope::kUnit,
     {Kind::kBackward, Kind::kWeightGrad},
     {Feature::kSplitBackward}},
    {Lifetime::kCarry, "carry", Scope::kMicroBatch, {Kind::kForward, Kind::kBackward}},
    {Lifetime::kCarryGradient, "carry gradient", Scope::kMicroBatch, {Kind::kBackward}},
    {Lifetime::kWorkspace, "workspace", Scope::kAction, kForwardToWeightGrad},
};

constexpr FlowRow kMessages[] = {
    {Flow::kActivation, "activation", 1},
    {Flow::kGradient, "gradient", -1},
};

// Rows are looked up by their position.
constexpr bool rows_are_in_order() {
  for (int kind = 0; kind < kKinds; ++kind)
    if (static_cast<int>(kActions[kind].kind) != kind) return false;
  for (int lifetime = 0; lifetime < kLifetimes; ++lifetime)
    if (static_cast<int>(kStorage[lifetime].lifetime) != lifetime) return false;
  for (int flow = 0; flow < kFlows; ++flow)
    if (static_cast<int>(kMessages[flow].flow) != flow) return false;
  return std::size(kActions) == kKinds && std::size(kStorage) == kLifetimes &&
         std::size(kMessages) == kFlows;
}
static_assert(rows_are_in_order());

}  // namespace

std::span<const KindRow> action_table() { return kActions; }
std::span<const LifetimeRow> lifetime_table() { return kStorage; }
std::span<const FlowRow> flow_table() { return kMessages; }

bool uses(const LifetimeRow& row, Kind kind, FeatureSet features) {
  return row.used_by.has(kind) && row.exists_with(features);
}

const KindRow& row_of(Kind kind) {
  SEQ1F1B_ASSERT(static_cast<int>(kind) < kKinds, "kind ", static_cast<int>(kind));
  return kActions[static_cast<int>(kind)];
}

const LifetimeRow& row_of(Lifetime lifetime) {
  SEQ1F1B_ASSERT(static_cast<int>(lifetime) < kLifetimes, "lifetime ", static_cast<int>(lifetime));
  return kStorage[static_cast<int>(lifetime)];
}

const FlowRow& row_of(Flow flow) {
  SEQ1F1B_ASSERT(static_cast<int>(flow) < kFlows, "flow ", static_cast<int>(flow));
  return kMessages[static_cast<int>(flow)];
}

KindSet kinds_of(FeatureSet features) {
  KindSet kinds;
  for (const KindRow& row : kActions)
    if (features.includes(row.required)) kinds.insert(row.kind);
  return kinds;
}

double unit_cost(Kind kind, FeatureSet features) {
  const KindSet kinds = kinds_of(features);
  double cost = row_of(kind).unit_cost;
  for (const KindRow& row : kActions)
    if (row.absorbed_by == kind && !kinds.has(row.kind)) cost += row.unit_cost;
  return cost;
}

}  // namespace seq1f1b::schedule

#include "core/schedule/action_table.h"

#include <algorithm>
#include <optional>

#include "tests/catch.h"

using namespace seq1f1b::schedule;

TEST_CASE("the table says the order of segments twice, alike") {
  for (const KindRow& row : action_table()) {
    const auto needs = [&](Where where) {
      return std::ranges::any_of(row.dependencies, [&](const Dependency& dependency) {
        return dependency.where == where && dependency.kind == row.kind;
      });
    };
    INFO(row.name);
    CHECK((row.segments == SegmentOrder::kAscending) == needs(Where::kPreviousSegment));
    CHECK((row.segments == SegmentOrder::kDescending) == needs(Where::kNextSegment));
  }
}

TEST_CASE("what crosses an edge is what the kind depends on across it") {
  for (const KindRow& row : action_table()) {
    INFO(row.name);
    std::optional<Flow> crosses;
    for (const Dependency& dependency : row.dependencies) {
      if (dependency.where != Where::kPreviousStage && dependency.where != Where::kNextStage)
        continue;
      crosses = row_of(dependency.kind).sends;
      REQUIRE(crosses.has_value());
      // The producer is on the other side of where its consumer is.
      CHECK(row_of(*crosses).stages_ahead == (dependency.where == Where::kPreviousStage ? 1 : -1));
    }
    CHECK(crosses == row.receives);
  }
}

TEST_CASE("a kind runs with its features alone, and all that it needs runs with them") {
  CHECK(kinds_of({}) == KindSet{Kind::kForward});
  CHECK(kinds_of({Feature::kBackward}) == KindSet{Kind::kForward, Kind::kBackward});
  for (const KindRow& row : action_table())
    for (const Dependency& dependency : row.dependencies)
      CHECK(kinds_of(row.required).has(dependency.kind));
}

TEST_CASE("storage that exists is used by a kind that runs") {
  for (const FeatureSet features : {FeatureSet{}, FeatureSet{Feature::kBackward},
                                    FeatureSet{Feature::kBackward, Feature::kSplitBackward}})
    for (const LifetimeRow& row : lifetime_table()) {
      INFO(row.name);
      for (const KindRow& kind : action_table())
        if (!row.exists_with(features)) CHECK_FALSE(uses(row, kind.kind, features));
      if (features.has(Feature::kBackward) && row.exists_with(features))
        CHECK(row.used_by.meets(kinds_of(features)));
    }
}

TEST_CASE("a split backward and its weight gradient cost one whole backward") {
  const FeatureSet whole = {Feature::kBackward};
  const FeatureSet split = {Feature::kBackward, Feature::kSplitBackward};
  CHECK(unit_cost(Kind::kForward, whole) == 1);
  CHECK(unit_cost(Kind::kBackward, whole) == 2);
  CHECK(unit_cost(Kind::kBackward, split) == 1);
  CHECK(unit_cost(Kind::kWeightGrad, split) == 1);
}

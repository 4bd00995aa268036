#include "core/schedule/action_table.h"

#include <algorithm>

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
    CHECK(row.ascending_segments == needs(Where::kPreviousSegment));
    CHECK(row.descending_segments == needs(Where::kNextSegment));
  }
}

TEST_CASE("what crosses an edge is what the kind depends on across it") {
  for (const KindRow& row : action_table()) {
    bool from_previous = false, from_next = false;
    for (const Dependency& dependency : row.dependencies) {
      if (dependency.where == Where::kPreviousStage) from_previous = true;
      if (dependency.where == Where::kNextStage) from_next = true;
      if (dependency.where == Where::kPreviousStage || dependency.where == Where::kNextStage)
        CHECK(row_of(dependency.kind).sends == row.receives);
    }
    INFO(row.name);
    CHECK(from_previous == (row.receives == Flow::kActivation));
    CHECK(from_next == (row.receives == Flow::kGradient));
  }
}

TEST_CASE("storage is opened by a kind that uses it") {
  for (const LifetimeRow& row : lifetime_table()) {
    INFO(row.name);
    CHECK(row.used_by[static_cast<std::size_t>(row.opened_by)]);
  }
}

TEST_CASE("a split backward and its weight gradient cost one whole backward") {
  const double whole = row_of(Kind::kBackward).unit_cost;
  CHECK(row_of(Kind::kBackward).split_unit_cost + row_of(Kind::kWeightGrad).split_unit_cost ==
        whole);
}

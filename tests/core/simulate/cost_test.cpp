#include "core/simulate/timeline.h"
#include "tests/catch.h"
#include "tests/core/schedule/hand_made.h"

using namespace seq1f1b::simulate;
using seq1f1b::schedule::Kind;
using seq1f1b::schedule::make_schedule;

TEST_CASE("unit costs are the action table's") {
  const Cost whole = unit_cost(make_schedule({"seq1f1b", 2, 1, 2, 2}));
  CHECK(whole({Kind::kForward, 0, {0, 0}}, 0) == 1);
  CHECK(whole({Kind::kBackward, 0, {0, 0}}, 0) == 2);
  const Cost split = unit_cost(seq1f1b::schedule::zero_bubble(2, 2, 1));
  CHECK(split({Kind::kBackward, 0, {0, 0}}, 0) == 1);
  CHECK(split({Kind::kWeightGrad, 0, {0, 0}}, 0) == 1);
}

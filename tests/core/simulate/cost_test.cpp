#include "core/simulate/timeline.h"
#include "kernels/common/errors.h"
#include "tests/catch.h"
#include "tests/core/schedule/hand_made.h"

using namespace seq1f1b;
using namespace seq1f1b::simulate;
using schedule::Action;
using schedule::Kind;
using schedule::make_schedule;

namespace {

// Powers of ten: every digit of a cost is one of its parts.
const StageFlops kStage{.linear_forward = 1,
                        .linear_backward = 20,
                        .attention_forward = 100,
                        .attention_backward = 3000,
                        .head_forward = 0,
                        .head_backward = 0};
StageFlops with_head() {
  StageFlops flops = kStage;
  flops.head_forward = 10'000;
  flops.head_backward = 700'000;
  return flops;
}

}  // namespace

TEST_CASE("unit costs are the action table's") {
  const Cost whole = unit_cost(make_schedule({"seq1f1b", 2, 1, 2, 2}));
  CHECK(whole({Kind::kForward, 0, {0, 0}}, 0) == 1);
  CHECK(whole({Kind::kBackward, 0, {0, 0}}, 0) == 2);
  const Cost split = unit_cost(schedule::zero_bubble(2, 2, 1));
  CHECK(split({Kind::kBackward, 0, {0, 0}}, 0) == 1);
  CHECK(split({Kind::kWeightGrad, 0, {0, 0}}, 0) == 1);
}

TEST_CASE("FLOPs count tokens and visible pairs") {
  const auto schedule = make_schedule({"seq1f1b", 2, 1, 2, 2});
  const Cost cost = flops_cost(schedule, {kStage, with_head()}, {3, 2}, 1);
  // Segment 0: rows see 1 + 2 + 3 keys; segment 1: 4 + 5.
  CHECK(cost({Kind::kForward, 0, {0, 0}}, 0) == 3 * 1 + 6 * 100);
  CHECK(cost({Kind::kForward, 0, {1, 1}}, 0) == 2 * 1 + 9 * 100);
  CHECK(cost({Kind::kBackward, 0, {0, 1}}, 0) == 2 * 20 + 9 * 3000);
  CHECK(flops_cost(schedule, {kStage, kStage}, {3, 2}, 4)({Kind::kForward, 0, {0, 0}}, 0) ==
        4 * (3 * 1 + 6 * 100));
}

TEST_CASE("pairs do not depend on the split") {
  StageFlops pairs_only;
  pairs_only.attention_forward = 1;
  double sum = 0;
  const Cost cost =
      flops_cost(make_schedule({"seq1f1b", 1, 1, 1, 4}), {pairs_only}, {7, 1, 5, 3}, 1);
  for (int s = 0; s < 4; ++s) sum += cost({Kind::kForward, 0, {0, s}}, 0);
  CHECK(sum == 16 * 17 / 2);
}

TEST_CASE("the head works in the backward when there is one") {
  const Action forward{Kind::kForward, 0, {0, 0}}, backward{Kind::kBackward, 0, {0, 0}};
  const auto training = make_schedule({"seq1f1b", 1, 1, 1, 1});
  const Cost trains = flops_cost(training, {with_head()}, {2}, 1);
  CHECK(trains(forward, 0) == 2 * 1 + 3 * 100);
  CHECK(trains(backward, 0) == 2 * (20 + 700'000) + 3 * 3000);
  const auto evaluation = make_schedule({"forward_only", 1, 1, 1, 1});
  CHECK(flops_cost(evaluation, {with_head()}, {2}, 1)(forward, 0) == 2 * (1 + 10'000) + 3 * 100);
}

TEST_CASE("a split backward costs as much as a whole one") {
  const auto split = schedule::zero_bubble(1, 1, 1);
  const Cost cost = flops_cost(split, {with_head()}, {2}, 1);
  CHECK(cost({Kind::kWeightGrad, 0, {0, 0}}, 0) == 2 * 10);
  CHECK(cost({Kind::kBackward, 0, {0, 0}}, 0) == 2 * (10 + 700'000) + 3 * 3000);
}

TEST_CASE("costs must match the schedule") {
  const auto schedule = make_schedule({"seq1f1b", 2, 1, 2, 2});
  CHECK_THROWS_AS(flops_cost(schedule, {kStage}, {3, 2}, 1), InternalError);
  CHECK_THROWS_AS(flops_cost(schedule, {kStage, kStage}, {5}, 1), InternalError);
}

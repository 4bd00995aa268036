// Orders broken on purpose: each must be refused, for the right reason, at the right place.
#include <string>

#include "core/schedule/validate.h"
#include "kernels/common/errors.h"
#include "tests/catch.h"
#include "tests/core/schedule/hand_made.h"

using namespace seq1f1b;
using namespace seq1f1b::schedule;

namespace {

Schedule example() { return make_schedule({"seq1f1b", 4, 1, 4, 2}); }

std::size_t index_of(const Order& order, const std::string& action) {
  std::size_t index = 0;
  while (to_string(order.at(index)) != action) ++index;
  return index;
}

void swap(Order& order, const std::string& a, const std::string& b) {
  std::swap(order[index_of(order, a)], order[index_of(order, b)]);
}

struct Expected {
  Rule rule;
  int rank;
  std::size_t index;
  std::vector<std::string> words;
};

void check_refused(const Schedule& schedule, const Expected& expected) {
  const std::vector<Violation> violations = validate(schedule);
  REQUIRE_FALSE(violations.empty());
  const Violation& first = violations.front();
  INFO(first.sentence);
  CHECK(std::string(rule_name(first.rule)) == rule_name(expected.rule));
  CHECK(first.rank == expected.rank);
  CHECK(first.index == expected.index);
  for (const std::string& word : expected.words)
    CHECK(first.sentence.find(word) != std::string::npos);
  for (const Violation& violation : violations) CHECK(violation.rule == first.rule);
  CHECK_THROWS_AS(require_valid(schedule), ConfigError);
}

Schedule with_depth(Schedule schedule, int send_buffers, int receive_buffers) {
  schedule.depth = {send_buffers, receive_buffers};
  return schedule;
}

// One order of a step per rank, "F0 B0": kind and micro-batch from 0.
Schedule hand_made(const std::vector<std::string>& orders, int micro_batches) {
  Schedule schedule{.spec = {"hand-made", static_cast<int>(orders.size()), 1, micro_batches, 1},
                    .features = {Feature::kBackward},
                    .depth = {},
                    .placement = {},
                    .orders = {}};
  for (const std::string& text : orders) {
    Order order;
    for (std::size_t at = 0; at + 1 < text.size(); at += 3)
      order.push_back(
          {text[at] == 'F' ? Kind::kForward : Kind::kBackward, 0, {text[at + 1] - '0', 0}});
    schedule.placement.push_back({static_cast<int>(schedule.placement.size())});
    schedule.orders.push_back(order);
  }
  return schedule;
}

}  // namespace

TEST_CASE("broken placement") {
  Schedule twice = example();
  twice.placement[2] = {1};
  check_refused(twice, {Rule::kPlacement, 2, 0, {"stage 1", "rank 1", "rank 2"}});

  Schedule outside = example();
  outside.placement[3] = {4};
  check_refused(outside, {Rule::kPlacement, 3, 0, {"stage 4", "0 to 3"}});

  Schedule none = example();
  none.placement[1] = {};
  check_refused(none, {Rule::kPlacement, 1, 0, {"0 stages"}});

  Schedule short_by_one = example();
  short_by_one.orders.pop_back();
  check_refused(short_by_one, {Rule::kPlacement, 0, 0, {"4 ranks"}});

  Schedule placed_short = example();
  placed_short.placement.pop_back();
  check_refused(placed_short, {Rule::kPlacement, 0, 0, {"stages for 3"}});

  Schedule negative = example();
  negative.placement[0] = {-1};
  check_refused(negative, {Rule::kPlacement, 0, 0, {"stage -1", "0 to 3"}});

  for (int Spec::*count : {&Spec::ranks, &Spec::chunks, &Spec::micro_batches, &Spec::segments}) {
    Schedule nothing = example();
    nothing.spec.*count = 0;
    check_refused(nothing, {Rule::kPlacement, 0, 0, {"must be positive"}});
  }
}

TEST_CASE("indices that do not exist") {
  Schedule micro_batch = example();
  micro_batch.orders[1][5].unit.micro_batch = 4;
  check_refused(micro_batch, {Rule::kIndexRange, 1, 5, {"micro-batch 4"}});

  Schedule segment = example();
  segment.orders[0][0].unit.segment = -1;
  check_refused(segment, {Rule::kIndexRange, 0, 0, {"segment -1"}});

  Schedule chunk = example();
  chunk.orders[3][2].chunk = 1;
  check_refused(chunk, {Rule::kIndexRange, 3, 2, {"chunk 1"}});

  Schedule kind = example();
  kind.orders[2][4].kind = static_cast<Kind>(7);
  check_refused(kind, {Rule::kIndexRange, 2, 4, {"kind 7"}});
}

TEST_CASE("an action twice") {
  Schedule schedule = example();
  Order& order = schedule.orders[1];
  order.push_back(order[3]);
  check_refused(schedule, {Rule::kOnce, 1, 16, {"F2.2", "action 3"}});

  Schedule weights = example();
  weights.orders[0].push_back({Kind::kWeightGrad, 0, {0, 0}});
  check_refused(weights, {Rule::kOnce, 0, 16, {"W1.1", "has no weight_grad"}});
}

TEST_CASE("an action missing") {
  Schedule schedule = example();
  Order& order = schedule.orders[2];
  order.erase(order.begin() + static_cast<std::ptrdiff_t>(index_of(order, "B3.2")));
  check_refused(schedule, {Rule::kMissing, 2, 15, {"B3.2", "stage 2"}});

  // A repeated action in place of another is told as the repetition.
  Schedule replaced = example();
  replaced.orders[0][1] = replaced.orders[0][0];
  check_refused(replaced, {Rule::kOnce, 0, 1, {"F1.1"}});

  Schedule no_weights = zero_bubble(2, 2, 1);
  std::erase_if(no_weights.orders[1], [](const Action& a) { return a.kind == Kind::kWeightGrad; });
  check_refused(no_weights, {Rule::kMissing, 1, 4, {"W1.1"}});

  // A kind that is missing everywhere is missed all the same.
  for (const auto& [kind, first] :
       {std::pair{Kind::kWeightGrad, "W1.1"}, std::pair{Kind::kBackward, "B1.1"}}) {
    Schedule without = zero_bubble(2, 2, 1);
    for (Order& order : without.orders)
      std::erase_if(order, [&](const Action& a) { return a.kind == kind; });
    check_refused(without, {Rule::kMissing, 0, 4, {first}});
  }

  Schedule no_forwards = make_schedule({"1f1b", 1, 1, 2, 1});
  std::erase_if(no_forwards.orders[0], [](const Action& a) { return a.kind == Kind::kForward; });
  check_refused(no_forwards, {Rule::kMissing, 0, 2, {"F1.1"}});

  Schedule nothing = make_schedule({"1f1b", 1, 1, 2, 1});
  nothing.orders[0].clear();
  check_refused(nothing, {Rule::kMissing, 0, 0, {"F1.1"}});
}

TEST_CASE("a backward before its forward") {
  Schedule schedule = example();
  swap(schedule.orders[3], "F2.2", "B2.2");
  const std::size_t index = index_of(schedule.orders[3], "B2.2");
  check_refused(schedule, {Rule::kDependency, 3, index, {"B2.2", "needs F2.2"}});
}

TEST_CASE("a weight gradient before its backward") {
  Schedule schedule = zero_bubble(2, 4, 2);
  swap(schedule.orders[0], "B1.2", "W1.2");
  const std::size_t index = index_of(schedule.orders[0], "W1.2");
  check_refused(schedule, {Rule::kDependency, 0, index, {"W1.2", "needs B1.2"}});
}

TEST_CASE("a dependency inside a rank with two chunks") {
  CHECK(validate(v_placement(3, 2)).empty());
  Schedule schedule = v_placement(2, 1);
  // Rank 1 holds stages 1 and 2; the second needs the first.
  swap(schedule.orders[1], "F1.1", "F1.1'");
  check_refused(schedule, {Rule::kDependency, 1, 0, {"F1.1'", "needs F1.1,"}});
}

TEST_CASE("segments in the wrong order") {
  Schedule forwards = example();
  swap(forwards.orders[0], "F2.1", "F2.2");
  check_refused(forwards, {Rule::kSegmentOrder, 0, 2, {"F2.2", "ascending", "F2.1"}});

  Schedule backwards = example();
  swap(backwards.orders[2], "B3.1", "B3.2");
  const std::size_t index = index_of(backwards.orders[2], "B3.1");
  check_refused(backwards, {Rule::kSegmentOrder, 2, index, {"B3.1", "descending", "B3.2"}});
}

TEST_CASE("ranks that disagree on the order of messages") {
  // METHOD section 6.7: every dependency is met, but the second rank takes the second message
  // first.
  check_refused(hand_made({"F0 F1 B1 B0", "F1 B1 F0 B0"}, 2),
                {Rule::kChannelOrder, 1, 0, {"F2.1", "rank 0", "message 1"}});

  Schedule forwards = make_schedule({"gpipe", 4, 1, 4, 1});
  swap(forwards.orders[2], "F3.1", "F4.1");
  check_refused(forwards,
                {Rule::kChannelOrder, 2, 2, {"F4.1", "message 2", "rank 1", "message 3"}});

  Schedule gradients = make_schedule({"gpipe", 2, 1, 2, 1});
  swap(gradients.orders[0], "B1.1", "B2.1");
  check_refused(gradients, {Rule::kChannelOrder, 0, 2, {"B2.1", "rank 1"}});
}

TEST_CASE("ranks that wait for each other") {
  // Rank 0 wants the first gradient before the second forward; rank 1 both forwards first.
  const Schedule circle = hand_made({"F0 B0 F1 B1", "F0 F1 B0 B1"}, 2);
  check_refused(circle, {Rule::kDeadlock,
                         0,
                         1,
                         {"rank 0 waits at action 1 (B1.1) for its input from rank 1",
                          "rank 1 waits at action 1 (F2.1) for its input from rank 0"}});
  check_refused(with_depth(circle, 100, 100), {Rule::kDeadlock, 0, 1, {}});
}

TEST_CASE("a deadlock by depth alone") {
  // Rank 0 runs all forwards before it takes a gradient, rank 1 sends gradients at once. Three
  // buffers fill up with gradients when rank 1 has taken four activations; three more wait for it.
  const Schedule schedule = hand_made({"F0 F1 F2 F3 F4 F5 F6 F7 B0 B1 B2 B3 B4 B5 B6 B7",
                                       "F0 B0 F1 B1 F2 B2 F3 B3 F4 B4 F5 B5 F6 B6 F7 B7"},
                                      8);
  check_refused(schedule, {Rule::kDeadlock,
                           0,
                           7,
                           {"1 send and 2 receive buffers",
                            "rank 0 waits at action 7 (F8.1) for a free send buffer to rank 1",
                            "rank 1 waits at action 7 (B4.1) for a free send buffer to rank 0"}});
  CHECK(validate(with_depth(schedule, 1, 3)).empty());
  CHECK(validate(with_depth(schedule, 2, 2)).empty());
  check_refused(with_depth(example(), 0, 2), {Rule::kDeadlock, 0, 0, {"at least one"}});
  check_refused(with_depth(example(), 2, 0), {Rule::kDeadlock, 0, 0, {"at least one"}});
}

TEST_CASE("all violations of the first broken rule are told, but not without end") {
  Schedule schedule = make_schedule({"seq1f1b", 2, 1, 8, 4});
  for (Order& order : schedule.orders)
    std::erase_if(order, [](const Action& a) { return a.unit.segment == 2; });
  const std::vector<Violation> violations = validate(schedule);
  CHECK(violations.size() > 1);
  CHECK(violations.size() < 32);
}

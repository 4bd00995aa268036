// The executor against times worked out by hand; METHOD's figures are in tests/core/simulate.
#include "core/schedule/execute.h"

#include "core/schedule/catalogue.h"
#include "tests/catch.h"
#include "tests/core/schedule/hand_made.h"

using namespace seq1f1b::schedule;

namespace {

double one(const Action& action, int) { return action.kind == Kind::kForward ? 1 : 2; }

}  // namespace

TEST_CASE("a message arrives a delay after its action has ended") {
  const Schedule schedule = make_schedule({"1f1b", 2, 1, 1, 1});
  const Execution execution = execute(
      schedule, {.duration = one,
                 .delay = [](const Edge& edge,
                             Unit) { return edge.flow == Flow::kActivation ? 10.0 : 100.0; },
                 .depth = {}});
  REQUIRE(execution.complete());
  CHECK(execution.spans[1][0].start == 11);   // F, after F on rank 0 and the link
  CHECK(execution.spans[1][1].end == 14);     // B follows at once
  CHECK(execution.spans[0][1].start == 114);  // B, after the way back
}

TEST_CASE("a full channel holds its producer up until the consumer takes a message") {
  // Rank 0 has three forwards to send; rank 1 begins each a long time after the one before.
  const Schedule schedule = make_schedule({"forward_only", 2, 1, 3, 1});
  const auto slow = [](const Action&, int stage) { return stage == 0 ? 1.0 : 50.0; };
  const auto starts = [&](std::optional<ChannelDepth> depth) {
    const Execution execution = execute(schedule, {.duration = slow, .delay = {}, .depth = depth});
    std::vector<double> times;
    for (const Span& span : execution.spans[0]) times.push_back(span.start);
    return times;
  };
  CHECK(starts({}) == std::vector<double>{0, 1, 2});
  CHECK(starts(ChannelDepth{1, 1}) == std::vector<double>{0, 1, 2});
  // One buffer in all: the second is sent when the first was taken, at 1; the third at 51.
  CHECK(starts(ChannelDepth{1, 0}) == std::vector<double>{0, 1, 51});
}

TEST_CASE("a local edge is never full, whatever the depth of channels") {
  const Execution execution =
      execute(v_placement(1, 4), {.duration = one, .delay = {}, .depth = ChannelDepth{1, 1}});
  CHECK(execution.complete());
  CHECK(execution.spans[0].back().end == 4 * 2 * (1 + 2));
}

TEST_CASE("a rank that cannot go on says what for") {
  Schedule schedule = make_schedule({"gpipe", 2, 1, 4, 1});
  const Execution execution =
      execute(schedule, {.duration = {}, .delay = {}, .depth = ChannelDepth{1, 0}});
  CHECK(execution.complete());                              // rank 1 takes activations as they come
  std::swap(schedule.orders[0][3], schedule.orders[0][4]);  // a backward before the last forward
  const Execution stuck = execute(schedule, {});
  REQUIRE(!stuck.complete());
  CHECK(stuck.waits[0]->index == 3);
  CHECK(stuck.waits[0]->peer == 1);
  CHECK(stuck.waits[0]->for_input);
  CHECK(stuck.waits[1]->index == 3);
  CHECK(stuck.spans[1].size() == 3);
}

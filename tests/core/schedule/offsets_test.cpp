// Storage that repeats from micro-batch to micro-batch: what a device that replays records needs.
#include "core/schedule/offsets.h"

#include <map>

#include "core/schedule/partition.h"
#include "tests/catch.h"
#include "tests/core/schedule/demands.h"
#include "tests/core/schedule/hand_made.h"

using namespace seq1f1b;
using namespace seq1f1b::schedule;

namespace {

class Random {
 public:
  explicit Random(std::uint32_t seed) : state_(seed) {}
  std::uint32_t below(std::uint32_t end) {
    state_ = state_ * 1664525u + 1013904223u;
    return (state_ >> 8) % end;
  }

 private:
  std::uint32_t state_;
};

// Sizes that no model would have: any relation between lifetimes, some absent.
ChunkDemand random_demand(Random& random, int segments) {
  ChunkDemand demand;
  const auto fill = [&](std::vector<std::size_t>& bytes) {
    if (random.below(5) == 0) return;
    for (int segment = 0; segment < segments; ++segment) bytes.push_back(random.below(100) * 64);
  };
  fill(demand.of(Lifetime::kActivations));
  fill(demand.of(Lifetime::kBackwardActivations));
  fill(demand.of(Lifetime::kStash));
  for (auto& workspace : demand.workspace) fill(workspace);
  demand.of(Lifetime::kCarry) = {random.below(300) * 64};
  demand.of(Lifetime::kCarryGradient) = {random.below(300) * 64};
  return demand;
}

// Slots alive together lie apart; slots of one role a period apart lie at one place; actions of
// one record use one set of places. By plain comparison of all pairs.
void check_repetition(const Schedule& schedule, int rank, const MemoryPlan& plan) {
  std::size_t overlaps = 0, strays = 0;
  for (const Slot& a : plan.slots())
    for (const Slot& b : plan.slots()) {
      if (&a >= &b) continue;
      if (a.first_action <= b.last_action && b.first_action <= a.last_action &&
          a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes)
        ++overlaps;
      const bool same_role = a.lifetime == b.lifetime && a.kind == b.kind && a.chunk == b.chunk &&
                             a.segment == b.segment;
      if (same_role && (a.micro_batch - b.micro_batch) % plan.period() == 0 && a.offset != b.offset)
        ++strays;
    }
  CHECK(overlaps == 0);
  CHECK(strays == 0);

  const Order& order = schedule.orders[static_cast<std::size_t>(rank)];
  std::map<std::int32_t, std::size_t> first_of;
  for (std::size_t index = 0; index < order.size(); ++index) {
    const auto record = plan.graph_of(index);
    CHECK(record < plan.graphs());
    const std::size_t first = first_of.try_emplace(record, index).first->second;
    CHECK(order[first].kind == order[index].kind);
    CHECK(order[first].chunk == order[index].chunk);
    CHECK(order[first].unit.segment == order[index].unit.segment);
    CHECK(plan.workspace_of(first).offset == plan.workspace_of(index).offset);
    for (const Lifetime lifetime : {Lifetime::kActivations, Lifetime::kCarry})
      if (order[index].kind != Kind::kWeightGrad)
        CHECK(plan.find(lifetime, order[first].chunk, order[first].unit).offset ==
              plan.find(lifetime, order[index].chunk, order[index].unit).offset);
    if (order[index].kind == Kind::kBackward)
      CHECK(plan.find(Lifetime::kCarryGradient, order[first].chunk, order[first].unit).offset ==
            plan.find(Lifetime::kCarryGradient, order[index].chunk, order[index].unit).offset);
  }
  CHECK(first_of.size() == static_cast<std::size_t>(plan.graphs()));
}

}  // namespace

TEST_CASE("whatever the demands and the schedule, places repeat and never collide") {
  Random random(11);
  for (int round = 0; round < 120; ++round) {
    const int ranks = 1 + static_cast<int>(random.below(6));
    const int segments = 1 + static_cast<int>(random.below(5));
    const int micro_batches = 1 + static_cast<int>(random.below(14));
    Schedule schedule;
    switch (random.below(4)) {
      case 0:
        schedule = zero_bubble(ranks, micro_batches, segments);
        break;
      case 1:
        schedule = make_schedule({"terapipe", ranks, 1, micro_batches, segments});
        break;
      case 2:
        schedule = make_schedule({"forward_only", ranks, 1, micro_batches, segments});
        break;
      default:
        schedule = make_schedule({"seq1f1b", ranks, 1, micro_batches, segments});
    }
    const ChunkDemand demand = random_demand(random, segments);
    const int rank = static_cast<int>(random.below(static_cast<std::uint32_t>(ranks)));
    INFO(schedule.spec.name << ", P = " << ranks << ", k = " << segments
                            << ", M = " << micro_batches << ", p = " << rank);
    check_repetition(schedule, rank, plan_memory(schedule, rank, {&demand, 1}, 64));
  }
}

TEST_CASE("records do not grow with the number of micro-batches") {
  const SegmentCost cost = authors_cost(32, 2560, 32, 80, 4 * 2560, 50304);
  for (const int ranks : {1, 2, 4, 8})
    for (const int segments : {1, 2, 4, 8})
      for (int rank = 0; rank < ranks; rank += std::max(1, ranks / 2)) {
        INFO("P = " << ranks << ", k = " << segments << ", p = " << rank);
        const auto lengths = partition_flops(32768, segments, 1, cost);
        const ChunkDemand demand = transformer(lengths);
        const auto plan_of = [&](int micro_batches) {
          return plan_memory(make_schedule({"seq1f1b", ranks, 1, micro_batches, segments}), rank,
                             {&demand, 1});
        };
        const MemoryPlan enough = plan_of(2 * ranks + 1);
        for (const int micro_batches : {2 * ranks + 2, 2 * ranks + 8, 64}) {
          const MemoryPlan more = plan_of(micro_batches);
          CHECK(more.period() == enough.period());
          CHECK(more.graphs() == enough.graphs());
          CHECK(more.packed_bytes() == enough.packed_bytes());
          CHECK(more.live_bytes() == enough.live_bytes());
          for (int segment = 0; segment < segments; ++segment)
            CHECK(more.find(Lifetime::kActivations, 0, {2, segment}).offset ==
                  enough.find(Lifetime::kActivations, 0, {2, segment}).offset);
        }
        CHECK(enough.graphs() == 2 * segments * enough.period());
        CHECK(enough.period() <= ranks + 1);
      }
}

TEST_CASE("records of the sizes that METHOD names: 2.7B, 32K") {
  const auto records = [](const char* name, int ranks, int segments, int micro_batches, int rank) {
    const auto lengths =
        partition_flops(32768, segments, 1, authors_cost(32, 2560, 32, 80, 4 * 2560, 50304));
    const ChunkDemand demand = transformer(lengths);
    return plan_memory(make_schedule({name, ranks, 1, micro_batches, segments}), rank, {&demand, 1})
        .graphs();
  };
  // Of 512 actions each. On the last rank one micro-batch ends while the next begins.
  CHECK(records("seq1f1b", 8, 4, 64, 0) == 48);
  CHECK(records("seq1f1b", 8, 4, 64, 7) == 16);
  CHECK(records("1f1b", 8, 1, 64, 0) == 16);
  CHECK(records("1f1b", 8, 1, 64, 7) == 2);
  CHECK(records("forward_only", 8, 4, 64, 0) == 4);
  // Everything is alive at once: nothing repeats, and every action is a record.
  CHECK(records("terapipe", 8, 4, 16, 0) == 2 * 4 * 16);
}

TEST_CASE("the period is the least that the lifetimes allow, or none") {
  std::vector<Slot> slots;
  const auto add = [&](int micro_batch, int segment, int first, int last, std::size_t bytes) {
    slots.push_back({.lifetime = Lifetime::kActivations,
                     .kind = Kind::kForward,
                     .chunk = 0,
                     .micro_batch = micro_batch,
                     .segment = segment,
                     .first_action = first,
                     .last_action = last,
                     .bytes = bytes,
                     .offset = 0});
  };
  // Each slot overlaps with its neighbours only: two places, taken in turn.
  for (int m = 0; m < 9; ++m) add(m, 0, 2 * m, 2 * m + 3, 100);
  const SlotOffsets found = offsets_of(slots, 9);
  CHECK(found.period == 2);
  CHECK(found.bytes == 200);

  // The first opened is the last to close: no two can share, so each has its own.
  slots.clear();
  for (int m = 0; m < 5; ++m) add(m, 0, m, 20 - m, 100);
  const SlotOffsets nested = offsets_of(slots, 5);
  CHECK(nested.period == 5);
  CHECK(nested.bytes == 500);
}

TEST_CASE("slots that meet in one action share no place") {
  const auto slot = [](int micro_batch, std::int32_t first, std::int32_t last) {
    return Slot{.lifetime = Lifetime::kActivations,
                .micro_batch = micro_batch,
                .first_action = first,
                .last_action = last,
                .bytes = 64};
  };
  CHECK(offsets_of(std::vector{slot(0, 0, 1), slot(1, 2, 3)}, 2).period == 1);
  CHECK(offsets_of(std::vector{slot(0, 0, 1), slot(1, 1, 2)}, 2).period == 2);
}

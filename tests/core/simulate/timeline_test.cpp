// The formulas and figures of METHOD, by simulation.
#include "core/simulate/timeline.h"
#include "core/schedule/catalogue.h"
#include "core/schedule/partition.h"

#include <algorithm>

#include "kernels/common/errors.h"
#include "tests/catch.h"
#include "tests/core/schedule/hand_made.h"

using namespace seq1f1b;
using namespace seq1f1b::simulate;
using schedule::make_schedule;
using schedule::Schedule;

namespace {

using Lengths = std::vector<std::int64_t>;

constexpr double kForward = 1, kBackward = 2;  // of a unit

Timeline at_unit_cost(const Schedule& schedule) {
  return simulate::simulate(schedule, unit_cost(schedule));
}

// METHOD section 4: "layers only, cost without the 4hV term, backward exactly 2 F".
Timeline with_cost(const Schedule& schedule, const Lengths& lengths,
                   const schedule::SegmentCost& layers) {
  return simulate::simulate(schedule, [&](const schedule::Action& action, int) {
    double end = 0;
    for (int s = 0; s <= action.unit.segment; ++s)
      end += static_cast<double>(lengths[static_cast<std::size_t>(s)]);
    const auto own = static_cast<double>(lengths[static_cast<std::size_t>(action.unit.segment)]);
    return layers(own, end) * (action.kind == schedule::Kind::kForward ? 1 : 2);
  });
}

}  // namespace

TEST_CASE("a measured timeline counts its bubble as a simulated one does") {
  const Timeline timeline = timeline_of({{{0, 2}, {3, 4}}, {{1, 2}, {4, 5}}});
  CHECK(timeline.makespan == 5);
  CHECK(timeline.idle == std::vector<double>{2, 3});
  CHECK(timeline.bubble == 0.5);
  CHECK(timeline_of({{}, {}}).bubble == 0);
}

TEST_CASE("the worked example: makespan 33, idle 9, peaks 5 4 3 2") {
  const Schedule schedule = make_schedule({"seq1f1b", 4, 1, 4, 2});
  const Timeline timeline = at_unit_cost(schedule);
  CHECK(timeline.makespan == 33);
  CHECK(timeline.idle == std::vector<double>{9, 9, 9, 9});
  CHECK(timeline.bubble == Approx(9.0 / 33));
  CHECK(peak_live_units(schedule) == std::vector<int>{5, 4, 3, 2});
  // Rank 3 can start when three others have forwarded, and is never kept waiting before its end.
  CHECK(timeline.spans[3].front().start == 3);
  CHECK(timeline.spans[3].back().end == 27);
  CHECK(timeline.spans[0].back().end == 33);
}

TEST_CASE("idle time and peaks are METHOD section 3's formulas") {
  for (int ranks = 1; ranks <= 12; ++ranks)
    for (int segments = 1; segments <= 12; ++segments)
      for (const int micro_batches : {1, 2, 3, 5, 8, 16}) {
        INFO("P = " << ranks << ", k = " << segments << ", M = " << micro_batches);
        const int units = micro_batches * segments;
        const double idle = (ranks - 1) * (kForward + kBackward);
        const auto check = [&](const char* name, const auto& peak_of_rank) {
          const Schedule schedule = make_schedule({name, ranks, 1, micro_batches, segments});
          const Timeline timeline = at_unit_cost(schedule);
          const std::vector<int> peaks = peak_live_units(schedule);
          bool equal = true;
          for (int p = 0; p < ranks; ++p) {
            const auto rank = static_cast<std::size_t>(p);
            equal = equal && timeline.idle[rank] == idle && peaks[rank] == peak_of_rank(p);
          }
          CHECK(equal);
        };
        check("seq1f1b", [&](int p) { return std::min(ranks - p - 1 + segments, units); });
        check("terapipe", [&](int) { return units; });
        if (segments > 1) continue;
        check("1f1b", [&](int p) { return std::min(ranks - p, micro_batches); });
        check("gpipe", [&](int) { return micro_batches; });
      }
}

TEST_CASE("split backwards: the idle time and the peak of the ZB rows") {
  for (const int ranks : {1, 2, 4, 8, 12})
    for (const int segments : {1, 2, 4, 7}) {
      const Schedule schedule =
          make_schedule({segments == 1 ? "zb-h1" : "seq1f1b-zb", ranks, 1, 16, segments});
      const Timeline timeline = at_unit_cost(schedule);
      INFO("P = " << ranks << ", k = " << segments);
      // (P-1)(F+B-W) with F = B = W = 1
      for (const double idle : timeline.idle) CHECK(idle == ranks - 1);
      for (const int peak : peak_live_units(schedule)) CHECK(peak == ranks + segments - 1);
    }
}

TEST_CASE("several chunks: the idle time and the peak of the interleaved rows") {
  for (const int ranks : {1, 2, 3, 4, 8})
    for (const int chunks : {2, 3, 4})
      for (const int segments : {1, 2, 3, 4, 5}) {
        const int group = segments * ((ranks + segments - 1) / segments);
        const int micro_batches = 4 * group / segments;
        const Schedule schedule = make_schedule(
            {segments == 1 ? "interleaved" : "seq1f1b-i", ranks, chunks, micro_batches, segments});
        const Timeline timeline = at_unit_cost(schedule);
        INFO("P = " << ranks << ", v = " << chunks << ", k = " << segments);
        // (P-1)(tf+tb)/(k v), where tf and tb are k v units long.
        for (const double idle : timeline.idle) CHECK(idle == (ranks - 1) * (kForward + kBackward));
        const std::vector<int> peaks = peak_live_units(schedule);
        for (int p = 0; p < ranks; ++p)
          CHECK(peaks[static_cast<std::size_t>(p)] ==
                std::min((chunks - 1) * group + 2 * (ranks - p - 1) + segments,
                         micro_batches * segments * chunks));
      }
}

TEST_CASE("the computation-wise partition, 2.7B at 32K, P = 8, M = 32") {
  const auto layers = schedule::authors_cost(32, 2560, 32, 80, 4 * 2560, 0);
  const auto whole = schedule::authors_cost(32, 2560, 32, 80, 4 * 2560, 50304);
  const Lengths even = schedule::partition_even(32768, 4, 1);
  const Lengths cwp = schedule::partition_flops(32768, 4, 1, whole);
  const Schedule plain = make_schedule({"1f1b", 8, 1, 32, 1});
  const Schedule seq = make_schedule({"seq1f1b", 8, 1, 32, 4});
  // METHOD rounds to 0.180; it is (P-1) / (M+P-1).
  CHECK(with_cost(plain, {32768}, layers).bubble == Approx(7.0 / 39));
  CHECK(with_cost(seq, even, layers).bubble == Approx(0.312).margin(0.0005));
  CHECK(with_cost(seq, cwp, layers).bubble == Approx(0.065).margin(0.0005));

  const std::vector<double> live = peak_live_micro_batches(seq, cwp);
  CHECK(live.front() == Approx(2.98).margin(0.005));
  CHECK(live.back() == Approx(1.23).margin(0.005));
  CHECK(peak_live_micro_batches(seq, even).front() == Approx(2.75));
  CHECK(peak_live_micro_batches(plain, {32768}).front() == Approx(8));
}

TEST_CASE("the computation-wise partition, 30B at 64K, P = 8, M = 16") {
  const auto layers = schedule::authors_cost(64, 6144, 64, 96, 4 * 6144, 0);
  const auto whole = schedule::authors_cost(64, 6144, 64, 96, 4 * 6144, 51200);
  const Schedule seq = make_schedule({"seq1f1b", 8, 1, 16, 4});
  CHECK(with_cost(make_schedule({"1f1b", 8, 1, 16, 1}), {65536}, layers).bubble ==
        Approx(7.0 / 23));
  CHECK(with_cost(seq, schedule::partition_even(65536, 4, 8), layers).bubble ==
        Approx(0.324).margin(0.001));
  CHECK(with_cost(seq, schedule::partition_flops(65536, 4, 8, whole), layers).bubble ==
        Approx(0.102).margin(0.001));
}

TEST_CASE("chunks are simulated through hand-overs and channels alike") {
  // One micro-batch down two ranks and back up: all four stages one after the other, twice.
  const Timeline timeline = at_unit_cost(schedule::v_placement(2, 1));
  CHECK(timeline.makespan == 4 * (kForward + kBackward));
  CHECK(peak_live_micro_batches(schedule::v_placement(2, 2), {3, 5}) == std::vector<double>{1, 1});
}

TEST_CASE("forwards alone: live for one action, idle while the pipe fills") {
  const Schedule schedule = make_schedule({"forward_only", 4, 1, 6, 2});
  const Timeline timeline = at_unit_cost(schedule);
  CHECK(timeline.makespan == 4 - 1 + 12);
  CHECK(peak_live_units(schedule) == std::vector<int>{1, 1, 1, 1});
}

TEST_CASE("an invalid schedule is no timeline") {
  Schedule schedule = make_schedule({"1f1b", 2, 1, 2, 1});
  std::swap(schedule.orders[1][0], schedule.orders[1][1]);
  CHECK_THROWS_AS(at_unit_cost(schedule), InternalError);
}

#include "core/schedule/packing.h"

#include <algorithm>

#include "kernels/common/errors.h"
#include "tests/catch.h"

using namespace seq1f1b::schedule;

namespace {

void check_packing(const std::vector<Interval>& intervals, const Packing& packing) {
  REQUIRE(packing.offsets.size() == intervals.size());
  std::size_t end = 0;
  for (std::size_t i = 0; i < intervals.size(); ++i) {
    end = std::max(end, packing.offsets[i] + intervals[i].bytes);
    for (std::size_t j = 0; j < i; ++j) {
      const bool in_time =
          intervals[i].first <= intervals[j].last && intervals[j].first <= intervals[i].last;
      const bool in_space = packing.offsets[i] < packing.offsets[j] + intervals[j].bytes &&
                            packing.offsets[j] < packing.offsets[i] + intervals[i].bytes;
      if (in_time && in_space) FAIL("intervals " << i << " and " << j << " overlap");
    }
  }
  CHECK(packing.bytes == end);
  CHECK(packing.bytes >= live_maximum(intervals));
}

}  // namespace

TEST_CASE("live maximum counts both ends") {
  CHECK(live_maximum(std::vector<Interval>{}) == 0);
  CHECK(live_maximum(std::vector<Interval>{{0, 1, 5}, {1, 2, 7}, {2, 3, 4}}) == 12);
  CHECK(live_maximum(std::vector<Interval>{{0, 1, 5}, {2, 3, 7}}) == 7);
}

TEST_CASE("nothing to pack") {
  CHECK(pack(std::vector<Interval>{}).bytes == 0);
  const Packing packing = pack(std::vector<Interval>{{0, 3, 0}, {1, 2, 0}});
  CHECK(packing.bytes == 0);
  CHECK(packing.offsets == std::vector<std::size_t>{0, 0});
}

TEST_CASE("equal sizes need no more than the live maximum") {
  std::vector<Interval> intervals;
  for (std::int32_t at = 0; at < 200; ++at) intervals.push_back({at, at + 3 + at * 7 % 11, 64});
  const Packing packing = pack(intervals);
  check_packing(intervals, packing);
  CHECK(packing.bytes == live_maximum(intervals));
}

TEST_CASE("sizes that differ slightly cost little more") {
  // What the smaller leaves does not hold the larger: without classes this wants a slot of each.
  std::vector<Interval> intervals;
  for (std::int32_t at = 0; at < 200; ++at)
    intervals.push_back({at, at + 3, at % 2 == 0 ? 1000u : 990u});
  const Packing packing = pack(intervals);
  check_packing(intervals, packing);
  CHECK(packing.bytes <= 4000);
}

TEST_CASE("random intervals never overlap, and a repeat is the same") {
  std::uint32_t state = 7;
  const auto random = [&](std::uint32_t below) {
    state = state * 1664525u + 1013904223u;
    return (state >> 8) % below;
  };
  for (int round = 0; round < 40; ++round) {
    std::vector<Interval> intervals;
    const std::uint32_t count = 1 + random(150);
    for (std::uint32_t i = 0; i < count; ++i) {
      const auto first = static_cast<std::int32_t>(random(100));
      intervals.push_back({first, first + static_cast<std::int32_t>(random(30)), 16 * random(50)});
    }
    const Packing packing = pack(intervals);
    check_packing(intervals, packing);
    CHECK(packing.offsets == pack(intervals).offsets);
    CHECK(std::ranges::all_of(packing.offsets, [](std::size_t o) { return o % 16 == 0; }));
  }
}

TEST_CASE("intervals of one place get one offset, and overlap with nothing") {
  // The rhythm of a pipeline: every four points an item of each of three sizes opens.
  std::vector<Interval> intervals;
  std::vector<std::int32_t> places;
  constexpr std::int32_t kPeriod = 3;
  for (std::int32_t turn = 0; turn < 40; ++turn)
    for (std::int32_t size = 0; size < 3; ++size) {
      const std::int32_t first = 4 * turn + size;
      intervals.push_back({first, first + 7 - 2 * size, static_cast<std::size_t>(40 - 10 * size)});
      places.push_back(turn % kPeriod * 3 + size);
    }
  const Packing packing = pack(intervals, places);
  REQUIRE(packing.offsets.size() == 9);
  Packing every{{}, packing.bytes};
  for (const std::int32_t place : places)
    every.offsets.push_back(packing.offsets[static_cast<std::size_t>(place)]);
  check_packing(intervals, every);
  CHECK(packing.bytes < 3 * (40 + 30 + 20));  // less than a place of its own for each

  CHECK_THROWS_AS(pack(intervals, std::vector<std::int32_t>(intervals.size(), 0)),
                  seq1f1b::InternalError);  // of different sizes
  const std::vector<Interval> overlapping{{0, 4, 8}, {4, 6, 8}};
  CHECK_THROWS_AS(pack(overlapping, std::vector<std::int32_t>{0, 0}), seq1f1b::InternalError);
}

TEST_CASE("a gap that is one byte short is none") {
  const std::vector<Interval> intervals{{0, 0, 3}, {0, 2, 4}, {1, 2, 4}};
  check_packing(intervals, pack(intervals));
}

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>

#include "tests/core/comm/contributions.h"
#include "tests/core/comm/world_bodies.h"

namespace seq1f1b::comm::testing {
namespace {

void check_sums(World& world, const std::vector<int>& members) {
  const auto group = world.make_group(members);
  for (const std::size_t count : {0, 1, 3, 1000, 100'003}) {
    std::vector<double> expected = contribution<double>(members[0], count);
    for (std::size_t m = 1; m < members.size(); ++m) {
      const std::vector<double> term = contribution<double>(members[m], count);
      for (std::size_t i = 0; i < count; ++i) expected[i] += term[i];
    }
    std::vector<double> values = contribution<double>(world.rank(), count);
    group->all_reduce_sum(values, nothing_special);
    // Equal to the sum in member order, bit by bit: hence equal on all members.
    EXPECT(same_bits(values, expected));
  }
}

void sums(World& world) {
  std::vector<int> members = everyone(world);
  check_sums(world, members);
  std::rotate(members.begin(), members.begin() + 1, members.end());
  check_sums(world, members);
}

void membership(World& world) {
  const int last = world.size() - 1;
  const auto alone = world.make_group(std::vector<int>{last});
  EXPECT((alone != nullptr) == (world.rank() == last));
  if (alone != nullptr) {
    EXPECT(alone->rank() == 0 && alone->size() == 1);
    std::vector<double> values = {3.5};
    alone->all_reduce_sum(values, nothing_special);
    EXPECT(values[0] == 3.5);
    EXPECT(alone->all_gather("me", nothing_special) == std::vector<std::string>{"me"});
    EXPECT(alone->all_gather(7, nothing_special) == std::vector{7});
    alone->broadcast(std::span(values), 0, nothing_special);
    alone->barrier(nothing_special);
  }
  const auto pair = world.make_group(std::vector<int>{last, 0});
  if (pair != nullptr) {
    EXPECT(pair->size() == 2);
    EXPECT(pair->rank() == (world.rank() == last ? 0 : 1));
  } else {
    EXPECT(world.rank() != 0 && world.rank() != last);
  }
}

struct Mixed {
  std::int64_t number = 0;
  double real = 0;
  std::array<char, 3> letters{};

  bool operator==(const Mixed&) const = default;
};
Mixed mixed(int rank) {
  return {(std::int64_t{1} << 40) + rank, 1.0 / (rank + 3), {'a', 'b', 'c'}};
}

void broadcasts(World& world) {
  const auto group = world.make_group(everyone(world));
  for (int root = 0; root < world.size(); ++root) {
    for (const std::size_t count : {0, 1, 5000, 250'001}) {
      std::vector<std::int32_t> values(count, -1);
      const auto value_at = [&](std::size_t i) { return static_cast<std::int32_t>(i) * 31 + root; };
      if (world.rank() == root)
        for (std::size_t i = 0; i < count; ++i) values[i] = value_at(i);
      group->broadcast(std::span(values), root, nothing_special);
      for (std::size_t i = 0; i < count; ++i) EXPECT(values[i] == value_at(i));
    }
    Mixed value = mixed(world.rank());
    group->broadcast(value, root, nothing_special);
    EXPECT(value == mixed(root));
    for (const std::string& theirs : {std::string(), std::string(70'000, 'x')}) {
      std::string text = world.rank() == root ? theirs : concat("mine is longer or shorter");
      group->broadcast(text, root, nothing_special);
      EXPECT(text == theirs);
    }
  }
}

void gathered(World& world) {
  const auto group = world.make_group(everyone(world));
  const auto text_of = [](int rank) {
    if (rank == 0) return std::string();
    return std::string(static_cast<std::size_t>(rank) * 40'000, static_cast<char>('a' + rank));
  };
  const auto values_of = [](int rank) {
    return std::vector<Mixed>(static_cast<std::size_t>(rank) * 1000, mixed(rank));
  };
  for (int repeat = 0; repeat < 3; ++repeat) {
    const std::vector<std::string> texts =
        group->all_gather(text_of(world.rank()), nothing_special);
    const std::vector<Mixed> values = group->all_gather(mixed(world.rank()), nothing_special);
    const std::vector<Mixed> mine = values_of(world.rank());
    const auto lists = group->all_gather(std::span<const Mixed>(mine), nothing_special);
    const auto size = static_cast<std::size_t>(world.size());
    EXPECT(texts.size() == size && values.size() == size && lists.size() == size);
    for (std::size_t rank = 0; rank < size; ++rank) {
      EXPECT(texts[rank] == text_of(static_cast<int>(rank)));
      EXPECT(values[rank] == mixed(static_cast<int>(rank)));
      EXPECT(lists[rank] == values_of(static_cast<int>(rank)));
    }
  }
}

// A barrier holds everybody until the last has come, for each as the last.
void barriers(World& world) {
  const auto group = world.make_group(everyone(world));
  const auto clock = [] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
  };
  for (int last = 0; last < world.size(); ++last) {
    std::vector<double> times(static_cast<std::size_t>(2 * world.size()), 0.0);
    const auto own = static_cast<std::size_t>(world.rank());
    const double begin = clock();
    while (world.rank() == last && clock() < begin + 0.02) {
    }
    times[2 * own] = clock();
    group->barrier(nothing_special);
    times[2 * own + 1] = clock();
    group->all_reduce_sum(times, nothing_special);
    for (int a = 0; a < world.size(); ++a) {
      for (int b = 0; b < world.size(); ++b) {
        EXPECT(times[static_cast<std::size_t>(2 * a)] <=
               times[static_cast<std::size_t>(2 * b + 1)]);
      }
    }
  }
}

// For bodies that need nothing but the world.
std::function<void(Site&)> in_world(void (*body)(World&)) {
  return [body](Site& site) { body(site.world); };
}

}  // namespace

std::vector<Body> group_bodies() {
  return {{"sums run in member order", in_world(sums)},
          {"members and others", in_world(membership)},
          {"broadcast from every root", in_world(broadcasts)},
          {"values and strings are gathered by member", in_world(gathered)},
          {"a barrier holds until the last has come", in_world(barriers)}};
}

}  // namespace seq1f1b::comm::testing

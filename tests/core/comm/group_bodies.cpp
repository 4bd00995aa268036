#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "tests/core/comm/world_bodies.h"

namespace seq1f1b::comm::testing {
namespace {

// Values whose sum depends on the order of addition: of both signs and many magnitudes. From a
// linear congruential generator (Knuth's MMIX): bodies draw many millions.
template <class Real>
std::vector<Real> contribution(int rank, std::size_t count) {
  static const std::vector<Real> powers = [] {
    std::vector<Real> table;
    for (int exponent = -43; exponent < -3; ++exponent)
      table.push_back(std::ldexp(Real(1), exponent));
    return table;
  }();
  std::uint64_t state = static_cast<std::uint64_t>(rank) * 977 + count;
  std::vector<Real> values(count);
  for (Real& value : values) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    const auto bits = static_cast<std::uint32_t>(state >> 32);
    const auto digits = static_cast<std::int32_t>(bits >> 8) - (1 << 23);
    value = static_cast<Real>(digits) * powers[bits % powers.size()];
  }
  return values;
}

template <class Real>
void check_sum(World& world, Group& group, const std::vector<int>& members, std::size_t count) {
  std::vector<Real> expected = contribution<Real>(members[0], count);
  for (std::size_t m = 1; m < members.size(); ++m) {
    const std::vector<Real> term = contribution<Real>(members[m], count);
    for (std::size_t i = 0; i < count; ++i) expected[i] += term[i];
  }
  std::vector<Real> values = contribution<Real>(world.rank(), count);
  group.all_reduce_sum(std::span(values), nothing_special);
  // Equal to the sum in member order, bit by bit: hence equal on all members.
  EXPECT(count == 0 || std::memcmp(values.data(), expected.data(), count * sizeof(Real)) == 0);
}

void check_sums(World& world, const std::vector<int>& members,
                const std::vector<std::size_t>& counts) {
  const auto group = world.make_group(members);
  if (group == nullptr) return;
  for (const std::size_t count : counts) {
    check_sum<float>(world, *group, members, count);
    check_sum<double>(world, *group, members, count / 2);
  }
}

void sums(World& world) {
  // Whole exchanges, slices of unequal length, and (in pairs) several rounds of slices.
  check_sums(world, everyone(world), {0, 1, 3, 1000, 5000, 100'003});
  check_sums(world, {0, 1}, {2'200'001});
}

void sums_in_member_order(World& world) {
  std::vector<int> members = everyone(world);
  std::rotate(members.begin(), members.begin() + 1, members.end());
  check_sums(world, members, {3, 1000, 100'003});
  check_sums(world, {1, 0}, {1000, 100'003});
}

void membership(World& world) {
  const int last = world.size() - 1;
  const auto alone = world.make_group(std::vector<int>{last});
  EXPECT((alone != nullptr) == (world.rank() == last));
  if (alone != nullptr) {
    EXPECT(alone->rank() == 0 && alone->size() == 1);
    std::vector<float> values = {3.5F};
    alone->all_reduce_sum(std::span(values), nothing_special);
    EXPECT(values[0] == 3.5F);
    EXPECT(alone->all_gather("me", nothing_special) == std::vector<std::string>{"me"});
    alone->broadcast(std::as_writable_bytes(std::span(values)), 0, nothing_special);
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

void broadcasts(World& world) {
  const auto group = world.make_group(everyone(world));
  for (int root = 0; root < world.size(); ++root) {
    for (const std::size_t bytes : {0, 1, 5000, 1'000'003}) {
      std::vector<std::byte> values(bytes, static_cast<std::byte>(0xee));
      const auto value_at = [&](std::size_t i) {
        return static_cast<std::byte>((i * 31 + static_cast<std::size_t>(root)) & 0xff);
      };
      if (world.rank() == root) {
        for (std::size_t i = 0; i < bytes; ++i) values[i] = value_at(i);
      }
      group->broadcast(values, root, nothing_special);
      for (std::size_t i = 0; i < bytes; ++i) EXPECT(values[i] == value_at(i));
    }
  }
}

void gathered_strings(World& world) {
  const auto group = world.make_group(everyone(world));
  const auto text_of = [](int rank) {
    if (rank == 0) return std::string();
    return std::string(static_cast<std::size_t>(rank) * 40'000, static_cast<char>('a' + rank));
  };
  for (int repeat = 0; repeat < 3; ++repeat) {
    const std::vector<std::string> texts =
        group->all_gather(text_of(world.rank()), nothing_special);
    EXPECT(texts.size() == static_cast<std::size_t>(world.size()));
    for (int rank = 0; rank < world.size(); ++rank) {
      EXPECT(texts[static_cast<std::size_t>(rank)] == text_of(rank));
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
    group->all_reduce_sum(std::span(times), nothing_special);
    for (int a = 0; a < world.size(); ++a) {
      for (int b = 0; b < world.size(); ++b) {
        EXPECT(times[static_cast<std::size_t>(2 * a)] <=
               times[static_cast<std::size_t>(2 * b + 1)]);
      }
    }
  }
}

// Sums on the device, between whatever the main queue does to the values before and after. The
// order of addition is the fabric's own, but the same everywhere.
template <class Real>
void check_tensor_sum(Site& site, TensorGroup& group, const std::vector<int>& members,
                      std::size_t count) {
  World& world = site.world;
  std::vector<double> expected(count), bound(count);
  for (const int member : members) {
    const std::vector<Real> term = contribution<Real>(member, count);
    for (std::size_t i = 0; i < count; ++i) {
      expected[i] += static_cast<double>(term[i]);
      bound[i] += std::abs(static_cast<double>(term[i]));
    }
  }
  const std::vector<Real> mine = contribution<Real>(world.rank(), count);
  const std::size_t bytes = count * sizeof(Real);
  const kernels::DeviceBuffer values(site.device, bytes), result(site.device, bytes);
  const kernels::Dtype dtype = sizeof(Real) == 8 ? kernels::Dtype::kF64 : kernels::Dtype::kF32;
  site.device.upload(values.data(), mine.data(), bytes);
  group.all_reduce_sum(kernels::Tensor(values.data(), dtype, {static_cast<std::int64_t>(count)}),
                       nothing_special);
  if (count > 0) site.device.copy(result.data(), values.data(), bytes);
  std::vector<Real> sum(count);
  wait_for(site);
  site.device.download(sum.data(), result.data(), bytes);
  const double unit = sizeof(Real) == 8 ? 0x1p-53 : 0x1p-24;
  for (std::size_t i = 0; i < count; ++i)
    EXPECT(std::abs(static_cast<double>(sum[i]) - expected[i]) <=
           unit * static_cast<double>(members.size()) * bound[i]);
  const auto host = world.make_group(everyone(world));
  const std::string bits(reinterpret_cast<const char*>(sum.data()), bytes);
  for (const std::string& other : host->all_gather(bits, nothing_special)) EXPECT(other == bits);
}

void tensor_sums(Site& site) {
  World& world = site.world;
  std::vector<int> members = everyone(world);
  std::rotate(members.begin(), members.begin() + 1, members.end());
  const auto all = site.fabric.make_group(members);
  const auto pair = site.fabric.make_group(std::vector<int>{1, 0});
  const auto alone = site.fabric.make_group(std::vector<int>{world.size() - 1});
  EXPECT((pair != nullptr) == (world.rank() < 2));
  EXPECT((alone != nullptr) == (world.rank() == world.size() - 1));
  site.fabric.connect();
  // More than one slice of pinned memory, too.
  for (const std::size_t count : {0, 1, 1000, 1'100'003}) {
    check_tensor_sum<float>(site, *all, members, count);
    check_tensor_sum<double>(site, *all, members, count / 2);
  }
  const auto twice = [&](TensorGroup& group, float factor) {
    const std::array<float, 3> mine = {1.0F, 2.0F, -4.0F};
    std::array<float, 3> sum{};
    const kernels::DeviceBuffer values(site.device, sizeof mine);
    site.device.upload(values.data(), mine.data(), sizeof mine);
    const kernels::Tensor tensor(values.data(), kernels::Dtype::kF32, {3});
    group.all_reduce_sum(tensor, nothing_special);
    group.all_reduce_sum(tensor, nothing_special);
    wait_for(site);
    site.device.download(sum.data(), values.data(), sizeof sum);
    for (std::size_t i = 0; i < sum.size(); ++i) EXPECT(sum[i] == factor * mine[i]);
  };
  if (pair) twice(*pair, 4);
  if (alone) twice(*alone, 1);
}

// For bodies that need nothing but the world.
std::function<void(Site&)> in_world(void (*body)(World&)) {
  return [body](Site& site) { body(site.world); };
}

}  // namespace

std::vector<Body> tensor_group_bodies() {
  return {{"tensors are summed in queue order", tensor_sums}};
}

std::vector<Body> group_bodies() {
  return {{"sums are bit-identical and ordered", in_world(sums)},
          {"sums run in member order", in_world(sums_in_member_order)},
          {"members and others", in_world(membership)},
          {"broadcast from every root", in_world(broadcasts)},
          {"strings are gathered by member", in_world(gathered_strings)},
          {"a barrier holds until the last has come", in_world(barriers)}};
}

}  // namespace seq1f1b::comm::testing

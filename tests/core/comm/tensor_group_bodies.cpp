#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "kernels/common/bf16.h"
#include "tests/core/comm/contributions.h"
#include "tests/core/comm/world_bodies.h"

namespace seq1f1b::comm::testing {
namespace {

using kernels::Bf16;
using kernels::Dtype;
using kernels::Tensor;

template <class Stored>
constexpr Dtype dtype_of() {
  if constexpr (std::is_same_v<Stored, double>) return Dtype::kF64;
  if constexpr (std::is_same_v<Stored, Bf16>) return Dtype::kBf16;
  return Dtype::kF32;
}
template <class Stored>
double as_double(Stored value) {
  if constexpr (std::is_same_v<Stored, Bf16>)
    return static_cast<float>(value);
  else
    return static_cast<double>(value);
}
template <class Stored>
constexpr double unit_roundoff() {
  return std::is_same_v<Stored, double> ? 0x1p-53 : std::is_same_v<Stored, Bf16> ? 0x1p-8 : 0x1p-24;
}

// What a rank brings.
template <class Stored>
std::vector<Stored> values_of(int rank, std::size_t count) {
  if constexpr (std::is_same_v<Stored, Bf16>) {
    std::vector<Bf16> values;
    for (const float value : contribution<float>(rank, count)) values.emplace_back(value);
    return values;
  } else {
    return contribution<Stored>(rank, count);
  }
}

// Values in the memory of a device, touched in queue order.
template <class Stored>
class Values {
 public:
  Values(Site& site, const std::vector<Stored>& values)
      : site_(site), count_(values.size()), memory_(site.device, count_ * sizeof(Stored)) {
    upload(values);
  }
  void upload(const std::vector<Stored>& values) {
    site_.device.upload(memory_.data(), values.data(), memory_.bytes());
  }
  Tensor tensor() const {
    return {memory_.data(), dtype_of<Stored>(), {static_cast<std::int64_t>(count_)}};
  }
  // What work issued now on the main queue reads; waits for the device.
  std::vector<Stored> read() const {
    const kernels::DeviceBuffer copy(site_.device, memory_.bytes());
    if (count_ > 0) site_.device.copy(copy.data(), memory_.data(), memory_.bytes());
    std::vector<Stored> values(count_);
    wait_for(site_);
    site_.device.download(values.data(), copy.data(), memory_.bytes());
    return values;
  }

 private:
  Site& site_;
  std::size_t count_;
  kernels::DeviceBuffer memory_;
};

// That `got` are the elements from `first` on of the sum of `count` over `members`, whose bits are
// known where the fabric adds in member order: each in fp32 or fp64, rounded to bf16 at the end.
template <class Stored>
void check_sum(Site& site, const std::vector<int>& members, std::size_t count, std::size_t first,
               const std::vector<Stored>& got) {
  World& world = site.world;
  using Sum = std::conditional_t<std::is_same_v<Stored, double>, double, float>;
  std::vector<Sum> sums;
  std::vector<double> exact(count), bound(count);
  for (const int member : members) {
    const std::vector<Stored> terms = values_of<Stored>(member, count);
    for (std::size_t i = 0; i < count; ++i) {
      const auto term = static_cast<Sum>(terms[i]);
      if (member == members.front())
        sums.push_back(term);
      else
        sums[i] += term;
      exact[i] += static_cast<double>(term);
      bound[i] += std::abs(static_cast<double>(term));
    }
  }
  std::vector<Stored> in_member_order;
  for (std::size_t i = 0; i < got.size(); ++i)
    in_member_order.push_back(static_cast<Stored>(sums[first + i]));
  if (site.in_member_order) EXPECT(same_bits(got, in_member_order));
  for (std::size_t i = 0; i < got.size(); ++i)
    EXPECT(std::abs(as_double(got[i]) - exact[first + i]) <=
           unit_roundoff<Stored>() * static_cast<double>(members.size()) * bound[first + i]);
}

// A list that is not in the order of the ranks.
std::vector<int> rotated(const World& world) {
  std::vector<int> members = everyone(world);
  std::rotate(members.begin(), members.begin() + 1, members.end());
  return members;
}

template <class Stored>
void all_reduce(Site& site, TensorGroup& group, const std::vector<int>& members,
                std::size_t count) {
  World& world = site.world;
  const Values<Stored> values(site, values_of<Stored>(world.rank(), count));
  group.all_reduce_sum(values.tensor(), nothing_special);
  const std::vector<Stored> sum = values.read();
  check_sum(site, members, count, 0, sum);
  const std::string bits(reinterpret_cast<const char*>(sum.data()), count * sizeof(Stored));
  const auto host = world.make_group(everyone(world));
  for (const std::string& other : host->all_gather(bits, nothing_special)) EXPECT(other == bits);
}

void all_reduces(Site& site) {
  World& world = site.world;
  const std::vector<int> members = rotated(world);
  const auto all = site.fabric.make_group(members);
  const auto pair = site.fabric.make_group(std::vector<int>{1, 0});
  EXPECT((pair != nullptr) == (world.rank() < 2));
  site.fabric.connect();
  // Whole exchanges, slices of unequal length, and more than is staged or received at a time.
  for (const std::size_t count : {0, 1, 5000, 600'007}) {
    all_reduce<float>(site, *all, members, count);
    all_reduce<double>(site, *all, members, count);
    all_reduce<Bf16>(site, *all, members, count / 4);
  }
  if (!pair) return;
  Values<float> values(site, {1.0F, 2.0F, -4.0F});
  pair->all_reduce_sum(values.tensor(), nothing_special);
  pair->all_reduce_sum(values.tensor(), nothing_special);
  EXPECT(values.read() == std::vector<float>({4.0F, 8.0F, -16.0F}));
}

template <class Stored>
void shards(Site& site, TensorGroup& group, const std::vector<int>& members, std::size_t shard) {
  World& world = site.world;
  const std::size_t count = shard * members.size();
  const std::size_t first = shard * static_cast<std::size_t>(group.rank());
  const auto at = [](const auto& values, std::size_t from) {
    return values.begin() + static_cast<std::ptrdiff_t>(from);
  };
  Values<Stored> values(site, values_of<Stored>(world.rank(), count));
  EXPECT(group.shard(values.tensor()).elements() == static_cast<std::int64_t>(shard));
  group.wait(group.start_reduce_scatter_sum(values.tensor(), nothing_special), nothing_special);
  const std::vector<Stored> scattered = values.read();
  check_sum(site, members, count, first,
            std::vector<Stored>(at(scattered, first), at(scattered, first + shard)));

  // Only the own shard counts.
  std::vector<Stored> mine(count, Stored(std::numeric_limits<float>::quiet_NaN()));
  const std::vector<Stored> own = values_of<Stored>(world.rank(), shard);
  std::copy(own.begin(), own.end(), mine.begin() + static_cast<std::ptrdiff_t>(first));
  values.upload(mine);
  group.wait(group.start_all_gather(values.tensor(), nothing_special), nothing_special);
  std::vector<Stored> expected;
  for (const int member : members) {
    const std::vector<Stored> theirs = values_of<Stored>(member, shard);
    expected.insert(expected.end(), theirs.begin(), theirs.end());
  }
  EXPECT(same_bits(values.read(), expected));
}

void shards_of_all_types(Site& site) {
  World& world = site.world;
  const std::vector<int> members = rotated(world);
  // Longer than a host receives at a time from one other.
  constexpr std::size_t kLong = 530'001;
  const auto all = site.fabric.make_group(members);
  const auto pair = site.fabric.make_group(std::vector<int>{1, 0}, 2 * kLong * sizeof(double) + 64);
  site.fabric.connect();
  for (const std::size_t shard : {0, 1, 3, 10'001}) {
    shards<float>(site, *all, members, shard);
    shards<double>(site, *all, members, shard);
    shards<Bf16>(site, *all, members, shard);
  }
  if (pair) shards<double>(site, *pair, {1, 0}, kLong);
}

// Several in flight, while the device works on other things and the hosts talk; waited for in an
// order of the caller's. Round after round in the same memory.
void in_flight(Site& site) {
  World& world = site.world;
  const std::vector<int> members = everyone(world);
  const std::size_t size = members.size();
  const std::size_t shard = 700, count = shard * size;
  const std::size_t bucket_bytes = (count * sizeof(float) + 63) / 64 * 64;
  const std::vector<float> mine = values_of<float>(world.rank(), count);
  Values<float> first(site, mine), second(site, mine), third(site, mine), other(site, mine);
  const auto group = site.fabric.make_group(members, 3 * bucket_bytes);
  const auto host = world.make_group(members);
  site.fabric.connect();
  for (int round = 0; round < 10; ++round) {
    for (Values<float>* values : {&first, &second, &third}) values->upload(mine);
    const auto reduced = group->start_all_reduce_sum(first.tensor(), nothing_special);
    const auto scattered = group->start_reduce_scatter_sum(second.tensor(), nothing_special);
    EXPECT(same_bits(other.read(), mine));
    const auto gathered = group->start_all_gather(third.tensor(), nothing_special);
    EXPECT(host->all_gather(round, nothing_special) == std::vector<int>(size, round));
    group->wait(scattered, nothing_special);  // and what was started before
    check_sum(site, members, count, 0, first.read());
    // Room again, behind one that is still in flight.
    first.upload(mine);
    const auto again = group->start_all_reduce_sum(first.tensor(), nothing_special);
    group->wait(reduced, nothing_special);
    const std::size_t begin = shard * static_cast<std::size_t>(group->rank());
    const std::vector<float> sums = second.read();
    check_sum(site, members, count, begin,
              std::vector<float>(sums.begin() + static_cast<std::ptrdiff_t>(begin),
                                 sums.begin() + static_cast<std::ptrdiff_t>(begin + shard)));
    group->wait(again, nothing_special);
    group->wait(gathered, nothing_special);
    check_sum(site, members, count, 0, first.read());
    const std::vector<float> all = third.read();
    for (std::size_t member = 0; member < size; ++member) {
      const std::vector<float> theirs = values_of<float>(members[member], count);
      EXPECT(std::equal(theirs.begin() + static_cast<std::ptrdiff_t>(member * shard),
                        theirs.begin() + static_cast<std::ptrdiff_t>((member + 1) * shard),
                        all.begin() + static_cast<std::ptrdiff_t>(member * shard)));
    }
  }
}

// Of unequal length, so that what is free is not always in one piece, up to all that the group was
// made for.
void unequal_in_flight(Site& site) {
  World& world = site.world;
  const std::vector<int> members = everyone(world);
  constexpr std::size_t kShort = 1600, kLong = 2 * kShort;
  const std::vector<float> some = values_of<float>(world.rank(), kShort);
  const std::vector<float> more = values_of<float>(world.rank(), kLong);
  Values<float> first(site, some), second(site, some), longer(site, more);
  const auto group = site.fabric.make_group(members, (kShort + kLong) * sizeof(float));
  site.fabric.connect();
  for (int round = 0; round < 6; ++round) {
    first.upload(some);
    second.upload(some);
    longer.upload(more);
    const auto one = group->start_all_reduce_sum(first.tensor(), nothing_special);
    const auto two = group->start_all_reduce_sum(second.tensor(), nothing_special);
    group->wait(one, nothing_special);
    const auto three = group->start_all_reduce_sum(longer.tensor(), nothing_special);
    check_sum(site, members, kShort, 0, first.read());
    group->wait(two, nothing_special);
    check_sum(site, members, kShort, 0, second.read());
    group->wait(three, nothing_special);
    check_sum(site, members, kLong, 0, longer.read());
  }
}

// Rank 0 has its result while the others do anything but wait for theirs.
void moves_by_itself(Site& site) {
  World& world = site.world;
  const std::vector<int> members = everyone(world);
  const std::size_t count = 40'000 * members.size();
  const std::vector<float> mine = values_of<float>(world.rank(), count);
  const Values<float> first(site, mine), second(site, mine), third(site, mine);
  const auto group = site.fabric.make_group(members, 3 * (count * sizeof(float) + 64));
  const auto host = world.make_group(members);
  site.fabric.connect();
  group->start_all_reduce_sum(first.tensor(), nothing_special);
  group->start_reduce_scatter_sum(second.tensor(), nothing_special);
  const auto last = group->start_all_gather(third.tensor(), nothing_special);
  if (world.rank() == 0) {
    group->wait(last, nothing_special);
    check_sum(site, members, count, 0, first.read());
  }
  host->barrier(nothing_special);
  group->wait(last, nothing_special);
  check_sum(site, members, count, 0, first.read());
}

// A group that goes waits for what nobody has waited for: the others get what it owes them.
void left_in_flight(Site& site) {
  const std::vector<int> members = everyone(site.world);
  const std::size_t count = 5000 * members.size();
  const std::vector<float> mine = values_of<float>(site.world.rank(), count);
  const Values<float> values(site, mine), again(site, mine);
  for (int time = 0; time < 2; ++time) {
    const auto group = site.fabric.make_group(members);
    site.fabric.connect();
    group->start_reduce_scatter_sum(values.tensor(), nothing_special);
    const auto sum = group->start_all_reduce_sum(again.tensor(), nothing_special);
    if (site.world.rank() == 0 || time > 0) continue;
    group->wait(sum, nothing_special);
    check_sum(site, members, count, 0, again.read());
  }
}

// What an exception leaves in flight, which rank 0 alone has started, ends with its group: the
// memory may go, and another group of the same ranks starts anew.
void thrown_in_flight(Site& site) {
  World& world = site.world;
  const std::vector<int> members = everyone(world);
  const std::size_t count = 100 * members.size();
  const std::vector<float> mine = values_of<float>(world.rank(), count);
  try {
    const Values<float> first(site, mine), second(site, mine);
    const auto group = site.fabric.make_group(members);
    site.fabric.connect();
    if (world.rank() > 0) throw DataError("a rank with nothing in flight");
    group->start_all_reduce_sum(first.tensor(), nothing_special);
    group->start_all_gather(second.tensor(), nothing_special);
    throw DataError("a rank with something in flight");
  } catch (const DataError&) {
  }
  const Values<float> values(site, mine);
  const auto group = site.fabric.make_group(members);
  site.fabric.connect();
  group->all_reduce_sum(values.tensor(), nothing_special);
  check_sum(site, members, count, 0, values.read());
}

// Code takes a group as it is: alone, it sends nothing, holds nothing and needs no connection.
void alone(Site& site) {
  World& world = site.world;
  const std::size_t before = site.fabric.library_bytes();
  const auto last = site.fabric.make_group(std::vector<int>{world.size() - 1});
  EXPECT((last != nullptr) == (world.rank() == world.size() - 1));
  EXPECT(site.fabric.library_bytes() == before);
  if (!last) return;
  EXPECT(last->rank() == 0 && last->size() == 1);
  const std::vector<float> mine = values_of<float>(world.rank(), 1'000'003);
  const Values<float> values(site, mine);
  last->all_reduce_sum(values.tensor(), nothing_special);
  last->start_reduce_scatter_sum(values.tensor(), nothing_special);
  last->wait(last->start_all_gather(values.tensor(), nothing_special), nothing_special);
  EXPECT(last->shard(values.tensor()).data == values.tensor().data);
  EXPECT(same_bits(values.read(), mine));
}

void misuse(Site& site) {
  World& world = site.world;
  const std::vector<int> members = everyone(world);
  const std::size_t size = members.size();
  const auto values = [&](std::size_t count) {
    return Values<float>(site, values_of<float>(world.rank(), count));
  };
  const auto uneven = values(size + 1), full = values(8 * 16 * size), little = values(size);
  const auto group = site.fabric.make_group(members, 8 * 64 * size);
  site.fabric.connect();
  EXPECT(is_refused([&] { group->start_reduce_scatter_sum(uneven.tensor(), nothing_special); }));
  EXPECT(is_refused([&] { group->start_all_gather(uneven.tensor(), nothing_special); }));
  Tensor numbers = little.tensor();
  numbers.dtype = Dtype::kI32;
  EXPECT(is_refused([&] { group->start_all_reduce_sum(numbers, nothing_special); }));
  EXPECT(is_refused([&] { group->wait(TensorGroup::Ticket{1}, nothing_special); }));
  const auto ticket = group->start_all_reduce_sum(full.tensor(), nothing_special);
  EXPECT(is_refused([&] { group->start_all_gather(little.tensor(), nothing_special); }));
  group->wait(ticket, nothing_special);
  group->wait(ticket, nothing_special);
  check_sum(site, members, 8 * 16 * size, 0, full.read());
  group->wait(group->start_all_gather(little.tensor(), nothing_special), nothing_special);
}

}  // namespace

std::vector<Body> tensor_group_bodies() {
  return {{"tensors are summed in queue order", all_reduces},
          {"shards are summed and gathered in queue order", shards_of_all_types},
          {"several collectives are in flight", in_flight},
          {"collectives of unequal length are in flight", unequal_in_flight},
          {"a collective moves while nobody waits", moves_by_itself},
          {"a group waits for what is in flight", left_in_flight},
          {"an exception ends what is in flight", thrown_in_flight},
          {"a group of one rank sends nothing", alone},
          {"misuse of groups is refused", misuse}};
}

}  // namespace seq1f1b::comm::testing

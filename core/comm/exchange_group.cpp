#include "core/comm/exchange_group.h"

#include <algorithm>
#include <bit>

#include "kernels/common/errors.h"

namespace seq1f1b::comm {

void ExchangeGroup::run(const Describe& what) {
  exchange_.run([&](std::span<const Transfer> round) { transport_.wait(round, what); });
}

void ExchangeGroup::exchange(std::span<const std::byte> mine,
                             std::span<const std::span<std::byte>> from, const Describe& what) {
  SEQ1F1B_ASSERT(from.size() == static_cast<std::size_t>(size()), "places for ", from.size(),
                 " of ", size(), " members");
  const std::span<std::byte> own = from[static_cast<std::size_t>(rank())];
  SEQ1F1B_ASSERT(own.size() == mine.size(), "a place of ", own.size(), " bytes for ", mine.size());
  exchange_.receive_from_others([&](int member) { return from[static_cast<std::size_t>(member)]; });
  for (int member = 0; member < size(); ++member)
    if (member != rank()) exchange_.send(member, mine);
  std::ranges::copy(mine, own.begin());
  run(what);
}

// A binomial tree over the distance from the root: a member's parent has its lowest bit cleared.
void ExchangeGroup::broadcast_bytes(std::span<std::byte> bytes, int root, const Describe& what) {
  SEQ1F1B_ASSERT(root >= 0 && root < size(), "root ", root, " of a group of ", size());
  const auto members = static_cast<unsigned>(size());
  const auto distance = static_cast<unsigned>(rank() - root + size()) % members;
  const auto member_at = [&](unsigned d) {
    return static_cast<int>((static_cast<unsigned>(root) + d) % members);
  };
  const unsigned lowest_bit = distance & (~distance + 1);
  if (distance != 0) {
    exchange_.receive(member_at(distance - lowest_bit), bytes);
    run(what);
  }
  unsigned step = distance != 0 ? lowest_bit >> 1 : std::bit_floor(members);
  for (; step != 0; step >>= 1) {
    if (distance + step < members) exchange_.send(member_at(distance + step), bytes);
  }
  run(what);
}

}  // namespace seq1f1b::comm

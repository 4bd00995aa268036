#include "core/comm/exchange_group.h"

#include <algorithm>
#include <bit>
#include <cstdint>

#include "kernels/common/errors.h"

namespace seq1f1b::comm {
namespace {

// A sum that takes this much in all from the peers is exchanged whole, in one round instead of two.
constexpr std::size_t kWholeBytes = std::size_t{64} << 10;
// What is received at a time for a longer sum; large enough to hide the cost of a round.
constexpr std::size_t kScratchBytes = std::size_t{4} << 20;

}  // namespace

ExchangeGroup::ExchangeGroup(Transport& transport, std::vector<int> members, int tag)
    : transport_(transport), members_(std::move(members)), tag_(tag) {
  const auto own = std::find(members_.begin(), members_.end(), transport.rank());
  SEQ1F1B_ASSERT(own != members_.end(), "rank ", transport.rank(), " makes a group without itself");
  SEQ1F1B_ASSERT(tag_ >= 0 && tag_ <= transport.max_tag(), "group number ", tag_, " is above ",
                 transport.max_tag());
  rank_ = static_cast<int>(own - members_.begin());
  if (size() == 1) return;
  const auto peers = static_cast<std::size_t>(size() - 1);
  scratch_bytes_ = std::max(kScratchBytes, peers * sizeof(double));
  scratch_ = std::make_unique_for_overwrite<std::byte[]>(scratch_bytes_);
  round_.reserve(2 * peers);
}

void ExchangeGroup::receive(int member, std::span<std::byte> bytes) {
  round_.push_back({.direction = Transfer::Direction::kReceive,
                    .lane = Lane::kGroup,
                    .peer = members_[static_cast<std::size_t>(member)],
                    .tag = tag_,
                    .bytes = bytes});
}

void ExchangeGroup::send(int member, std::span<const std::byte> bytes) {
  // A transfer only reads what it sends.
  round_.push_back({.direction = Transfer::Direction::kSend,
                    .lane = Lane::kGroup,
                    .peer = members_[static_cast<std::size_t>(member)],
                    .tag = tag_,
                    .bytes = {const_cast<std::byte*>(bytes.data()), bytes.size()}});
}

void ExchangeGroup::run(const Describe& what) {
  try {
    transport_.post(round_);
    transport_.wait(round_, what);
  } catch (...) {
    transport_.withdraw(round_);
    round_.clear();
    throw;
  }
  round_.clear();
}

// Where the contribution of another member to a sum arrives.
template <class Real>
std::span<Real> ExchangeGroup::scratch_of(int member, std::size_t stride, std::size_t count) const {
  const auto place = static_cast<std::size_t>(member < rank_ ? member : member - 1);
  return {reinterpret_cast<Real*>(scratch_.get()) + place * stride, count};
}

// Replaces this member's contribution by the sum of all.
template <class Real>
void ExchangeGroup::add_in_member_order(std::span<Real> own, std::size_t stride) {
  const auto contribution = [&](int member) {
    return member == rank_ ? own : scratch_of<Real>(member, stride, own.size());
  };
  const std::span<Real> total = contribution(0);
  for (int member = 1; member < size(); ++member) {
    const std::span<Real> term = contribution(member);
    for (std::size_t i = 0; i < total.size(); ++i) total[i] += term[i];
  }
  if (total.data() != own.data()) std::copy(total.begin(), total.end(), own.begin());
}

// Everybody receives everything and adds it up.
template <class Real>
void ExchangeGroup::sum_whole(std::span<Real> values, const Describe& what) {
  for (int member = 0; member < size(); ++member) {
    if (member == rank_) continue;
    receive(member, std::as_writable_bytes(scratch_of<Real>(member, values.size(), values.size())));
  }
  for (int member = 0; member < size(); ++member) {
    if (member != rank_) send(member, std::as_bytes(values));
  }
  run(what);
  add_in_member_order(values, values.size());
}

// Member m adds up the m-th slice and hands the total to all: the least traffic, and the same sum,
// element by element, as if the values had been exchanged whole.
template <class Real>
void ExchangeGroup::sum_by_slices(std::span<Real> values, const Describe& what) {
  const auto members = static_cast<std::size_t>(size());
  const std::size_t longest = scratch_bytes_ / sizeof(Real) / (members - 1);
  while (!values.empty()) {
    const std::size_t length = std::min(longest, (values.size() + members - 1) / members);
    const auto slice = [&](int member) {
      const std::size_t begin = std::min(static_cast<std::size_t>(member) * length, values.size());
      return values.subspan(begin, std::min(length, values.size() - begin));
    };
    const std::span<Real> own = slice(rank_);
    for (int member = 0; member < size(); ++member) {
      if (member == rank_) continue;
      receive(member, std::as_writable_bytes(scratch_of<Real>(member, length, own.size())));
    }
    for (int member = 0; member < size(); ++member) {
      if (member != rank_) send(member, std::as_bytes(slice(member)));
    }
    run(what);
    add_in_member_order(own, length);
    for (int member = 0; member < size(); ++member) {
      if (member != rank_) receive(member, std::as_writable_bytes(slice(member)));
    }
    for (int member = 0; member < size(); ++member) {
      if (member != rank_) send(member, std::as_bytes(own));
    }
    run(what);
    values = values.subspan(std::min(members * length, values.size()));
  }
}

template <class Real>
void ExchangeGroup::sum(std::span<Real> values, const Describe& what) {
  if (size() == 1) return;
  const std::size_t from_peers = values.size_bytes() * static_cast<std::size_t>(size() - 1);
  if (from_peers <= kWholeBytes) {
    sum_whole(values, what);
  } else {
    sum_by_slices(values, what);
  }
}

void ExchangeGroup::all_reduce_sum(std::span<double> values, const Describe& what) {
  sum(values, what);
}

void ExchangeGroup::all_reduce_sum(std::span<float> values, const Describe& what) {
  sum(values, what);
}

// A binomial tree over the distance from the root: a member's parent has its lowest bit cleared.
void ExchangeGroup::broadcast(std::span<std::byte> bytes, int root, const Describe& what) {
  SEQ1F1B_ASSERT(root >= 0 && root < size(), "root ", root, " of a group of ", size());
  const auto members = static_cast<unsigned>(size());
  const auto distance = static_cast<unsigned>(rank_ - root + size()) % members;
  const auto member_at = [&](unsigned d) {
    return static_cast<int>((static_cast<unsigned>(root) + d) % members);
  };
  const unsigned lowest_bit = distance & (~distance + 1);
  if (distance != 0) {
    receive(member_at(distance - lowest_bit), bytes);
    run(what);
  }
  unsigned step = distance != 0 ? lowest_bit >> 1 : std::bit_floor(members);
  for (; step != 0; step >>= 1) {
    if (distance + step < members) send(member_at(distance + step), bytes);
  }
  if (!round_.empty()) run(what);
}

std::vector<std::string> ExchangeGroup::all_gather(const std::string& mine, const Describe& what) {
  std::vector<std::uint64_t> lengths(members_.size(), mine.size());
  std::vector<std::string> gathered(members_.size(), mine);
  const auto own = static_cast<std::size_t>(rank_);
  for (int member = 0; member < size(); ++member) {
    if (member == rank_) continue;
    receive(member, std::as_writable_bytes(
                        std::span(lengths).subspan(static_cast<std::size_t>(member), 1)));
  }
  for (int member = 0; member < size(); ++member) {
    if (member != rank_) send(member, std::as_bytes(std::span(lengths).subspan(own, 1)));
  }
  if (!round_.empty()) run(what);
  for (int member = 0; member < size(); ++member) {
    if (member == rank_) continue;
    std::string& text = gathered[static_cast<std::size_t>(member)];
    text.resize(lengths[static_cast<std::size_t>(member)]);
    receive(member, std::as_writable_bytes(std::span(text)));
  }
  for (int member = 0; member < size(); ++member) {
    if (member != rank_) send(member, std::as_bytes(std::span(mine)));
  }
  if (!round_.empty()) run(what);
  return gathered;
}

void ExchangeGroup::barrier(const Describe& what) {
  for (int member = 0; member < size(); ++member) {
    if (member != rank_) receive(member, {});
  }
  for (int member = 0; member < size(); ++member) {
    if (member != rank_) send(member, {});
  }
  if (!round_.empty()) run(what);
}

}  // namespace seq1f1b::comm

#include "core/comm/exchange.h"

#include <algorithm>

#include "kernels/common/errors.h"

namespace seq1f1b::comm {

Exchange::Exchange(Transport& transport, std::vector<int> members, int tag)
    : transport_(transport), members_(std::move(members)), tag_(tag) {
  const auto own = std::ranges::find(members_, transport.rank());
  SEQ1F1B_ASSERT(own != members_.end(), "rank ", transport.rank(), " makes a group without itself");
  SEQ1F1B_ASSERT(tag_ >= 0 && tag_ <= transport.max_tag(), "group number ", tag_, " is above ",
                 transport.max_tag());
  rank_ = static_cast<int>(own - members_.begin());
  round_.reserve(2 * (members_.size() - 1));
}

void Exchange::add(Transfer::Direction direction, int member, std::span<std::byte> bytes) {
  round_.push_back({.direction = direction,
                    .lane = Lane::kGroup,
                    .peer = members_[static_cast<std::size_t>(member)],
                    .tag = tag_,
                    .bytes = bytes});
}

void Exchange::receive(int member, std::span<std::byte> bytes) {
  add(Transfer::Direction::kReceive, member, bytes);
}

void Exchange::send(int member, std::span<const std::byte> bytes) {
  // A transfer only reads what it sends.
  add(Transfer::Direction::kSend, member, {const_cast<std::byte*>(bytes.data()), bytes.size()});
}

void Exchange::receive_from_others(const Part& part) {
  for (int member = 0; member < size(); ++member)
    if (member != rank_) receive(member, part(member));
}

void Exchange::send_to_others(const Part& part) {
  for (int member = 0; member < size(); ++member)
    if (member != rank_) send(member, part(member));
}

}  // namespace seq1f1b::comm

#include "core/comm/basic_world.h"

#include <algorithm>

#include "core/comm/exchange_group.h"
#include "core/comm/host_tensor_group.h"
#include "core/comm/ring.h"
#include "kernels/common/errors.h"

namespace seq1f1b::comm {

std::unique_ptr<Sender> BasicWorld::make_sender(int to, int id,
                                                std::vector<std::span<std::byte>> buffers) {
  return std::make_unique<RingSender>(transport_, to, id, std::move(buffers));
}

std::unique_ptr<Receiver> BasicWorld::make_receiver(int from, int id,
                                                    std::vector<std::span<std::byte>> buffers) {
  return std::make_unique<RingReceiver>(transport_, from, id, std::move(buffers));
}

int BasicWorld::next_group(std::span<const int> members) {
  for (const int member : members) {
    SEQ1F1B_ASSERT(member >= 0 && member < size(), "rank ", member, " is not in a world of ",
                   size());
    SEQ1F1B_ASSERT(std::count(members.begin(), members.end(), member) == 1, "rank ", member,
                   " is in a group twice");
  }
  const int tag = groups_made_++;  // counted on all ranks, members or not
  return std::find(members.begin(), members.end(), rank()) == members.end() ? -1 : tag;
}

std::unique_ptr<Group> BasicWorld::make_group(std::span<const int> members) {
  const int tag = next_group(members);
  if (tag < 0) return nullptr;
  return std::make_unique<ExchangeGroup>(transport_,
                                         std::vector<int>(members.begin(), members.end()), tag);
}

std::unique_ptr<TensorGroup> BasicWorld::make_tensor_group(std::span<const int> members,
                                                           std::size_t in_flight_bytes) {
  const int tag = next_group(members);
  if (tag < 0) return nullptr;
  auto group = std::make_unique<HostTensorGroup>(
      transport_, std::vector<int>(members.begin(), members.end()), tag, in_flight_bytes);
  group_bytes_ += group->scratch_bytes();
  return group;
}

void BasicWorld::meet_all(const Describe& what) { make_group(everyone(*this))->barrier(what); }

}  // namespace seq1f1b::comm

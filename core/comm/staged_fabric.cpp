// Messages between devices by way of the host: what a rank sends goes down into a ring of pinned
// host memory that the world's channel takes it from, what it receives comes up from one.
//
// Bytes moved: every message crosses to the host, between the processes, and back. commit() blocks
// the host until the device has produced the message and wait() until the peer has sent it, so the
// device idles around every message: this is for several ranks on one GPU, which means for tests.
//
// Deadlock: commit() waits for work of this rank alone, whose own inputs came up before; acquire()
// and wait() wait exactly where the world's channels do with the same rings. A schedule that the
// validator proved for those therefore completes here.
#include <algorithm>
#include <deque>

#include "core/comm/fabric.h"
#include "kernels/common/errors.h"

namespace seq1f1b::comm {
namespace {

using kernels::Device;
using kernels::Tensor;

// One pinned buffer for every device buffer of a ring, of the same size.
class PinnedRing {
 public:
  PinnedRing(Device& device, const std::vector<std::span<std::byte>>& like) {
    for (const auto& buffer : like) memory_.emplace_back(device, buffer.size());
  }
  std::vector<std::span<std::byte>> buffers() const {
    std::vector<std::span<std::byte>> buffers;
    for (const auto& buffer : memory_) buffers.push_back(buffer.span());
    return buffers;
  }
  std::size_t bytes() const {
    std::size_t sum = 0;
    for (const auto& buffer : memory_) sum += buffer.bytes();
    return sum;
  }

 private:
  std::vector<kernels::HostBuffer> memory_;
};

class StagedSender final : public Sender {
 public:
  StagedSender(World& world, Device& device, int to, int id,
               std::vector<std::span<std::byte>> buffers)
      : device_(device),
        buffers_(std::move(buffers)),
        pinned_(device, buffers_),
        channel_(world.make_sender(to, id, pinned_.buffers())) {}

  // The device buffer is free in queue order since the download of its last message; what may not
  // be free is its place in the pinned ring.
  std::byte* acquire(const Describe& what) override {
    acquired_.push_back(channel_->acquire(what));
    return buffers_[next_acquired_++ % buffers_.size()].data();
  }

  void commit(std::size_t bytes) override {
    SEQ1F1B_ASSERT(!acquired_.empty(), "commit without acquire");
    const std::span<std::byte> source = buffers_[next_committed_ % buffers_.size()];
    SEQ1F1B_ASSERT(bytes <= source.size(), "a message of ", bytes, " bytes in a buffer of ",
                   source.size());
    if (bytes > 0) device_.download(acquired_.front(), source.data(), bytes);
    channel_->commit(bytes);
    acquired_.pop_front();
    ++next_committed_;
  }

  std::size_t pinned_bytes() const { return pinned_.bytes(); }

 private:
  Device& device_;
  const std::vector<std::span<std::byte>> buffers_;
  PinnedRing pinned_;  // outlives the channel
  const std::unique_ptr<Sender> channel_;
  std::deque<std::byte*> acquired_;  // pinned, not committed yet
  std::size_t next_acquired_ = 0, next_committed_ = 0;
};

class StagedReceiver final : public Receiver {
 public:
  StagedReceiver(World& world, Device& device, int from, int id,
                 std::vector<std::span<std::byte>> buffers)
      : device_(device),
        buffers_(std::move(buffers)),
        pinned_(device, buffers_),
        channel_(world.make_receiver(from, id, pinned_.buffers())) {}

  void expect(std::span<const std::size_t> bytes) override {
    channel_->expect(bytes);
    sizes_.insert(sizes_.end(), bytes.begin(), bytes.end());
  }

  const std::byte* wait(const Describe& what) override {
    const std::byte* message = channel_->wait(what);
    std::byte* target = buffers_[waited_++ % buffers_.size()].data();
    // Whoever used the buffer before came earlier in the main queue.
    if (sizes_.front() > 0) device_.upload(target, message, sizes_.front());
    sizes_.pop_front();
    return target;
  }

  // Not before the release: a pinned buffer given back at once would let the sender run further
  // ahead than the schedule planned.
  void release() override { channel_->release(); }

  std::size_t pinned_bytes() const { return pinned_.bytes(); }

 private:
  Device& device_;
  const std::vector<std::span<std::byte>> buffers_;
  PinnedRing pinned_;
  const std::unique_ptr<Receiver> channel_;
  std::deque<std::size_t> sizes_;  // of the messages not waited for
  std::size_t waited_ = 0;
};

// Down when a collective is started, exchanged by the host's group meanwhile, and up when it is
// waited for: what is in flight lies in pinned memory, in the order of starting.
class StagedGroup final : public TensorGroup {
 public:
  StagedGroup(Device& device, std::unique_ptr<TensorGroup> group, std::size_t in_flight_bytes)
      : TensorGroup(group->rank(), group->size(), in_flight_bytes),
        device_(device),
        capacity_(std::max(kAlignment, aligned(in_flight_bytes))),
        pinned_(device, size() == 1 ? 0 : 2 * capacity_),
        group_(std::move(group)) {}

  std::size_t pinned_bytes() const { return pinned_.bytes(); }

 private:
  struct Staged {
    Tensor values, pinned;
    bool result_is_shard;
    Ticket ticket;
  };

  void begin(const Collective& collective, const Describe& what) override {
    const Tensor& values = collective.values;
    Tensor pinned = values;
    pinned.data = place(aligned(values.bytes()));
    const bool gathers = collective.kind == Kind::kAllGather;
    const Tensor from = gathers ? shard(values) : values;
    device_.download(gathers ? shard(pinned).data : pinned.data, from.data, from.bytes());
    const auto start = [&] {
      switch (collective.kind) {
        case Kind::kAllReduceSum:
          return group_->start_all_reduce_sum(pinned, what);
        case Kind::kReduceScatterSum:
          return group_->start_reduce_scatter_sum(pinned, what);
        case Kind::kAllGather:
          break;
      }
      return group_->start_all_gather(pinned, what);
    };
    staged_.push_back({values, pinned, collective.kind == Kind::kReduceScatterSum, start()});
  }

  void finish_oldest(const Describe& what) override {
    const Staged& oldest = staged_.front();
    group_->wait(oldest.ticket, what);
    const Tensor to = oldest.result_is_shard ? shard(oldest.values) : oldest.values;
    device_.upload(to.data, oldest.result_is_shard ? shard(oldest.pinned).data : oldest.pinned.data,
                   to.bytes());
    staged_.pop_front();
  }

  std::size_t longest_sum_bytes() const override { return capacity_; }

  // Behind the newest, or at the front where the end is too near. That is free: the ring is twice
  // as large as all that may be in flight.
  std::byte* place(std::size_t bytes) {
    if (next_ + bytes > pinned_.bytes()) next_ = 0;
    std::byte* const at = pinned_.data() + next_;
    next_ += bytes;
    return at;
  }

  Device& device_;
  const std::size_t capacity_;        // of what may be in flight
  const kernels::HostBuffer pinned_;  // outlives the group that works in it
  const std::unique_ptr<TensorGroup> group_;
  std::deque<Staged> staged_;
  std::size_t next_ = 0;
};

class StagedFabric final : public Fabric {
 public:
  StagedFabric(World& world, Device& device, std::string why)
      : Fabric(world), device_(device), why_(std::move(why)) {}

  std::string description() const override {
    return concat(world_.description(), ", staged through host memory", why_.empty() ? "" : " (",
                  why_, why_.empty() ? "" : ")");
  }
  std::unique_ptr<Sender> make_sender(int to, int id,
                                      std::vector<std::span<std::byte>> buffers) override {
    auto sender = std::make_unique<StagedSender>(world_, device_, to, id, std::move(buffers));
    pinned_bytes_ += sender->pinned_bytes();
    return sender;
  }
  std::unique_ptr<Receiver> make_receiver(int from, int id,
                                          std::vector<std::span<std::byte>> buffers) override {
    auto receiver = std::make_unique<StagedReceiver>(world_, device_, from, id, std::move(buffers));
    pinned_bytes_ += receiver->pinned_bytes();
    return receiver;
  }
  std::unique_ptr<TensorGroup> make_group(
      std::span<const int> members,
      std::size_t in_flight_bytes = TensorGroup::kInFlightBytes) override {
    auto host = world_.make_tensor_group(members, in_flight_bytes);
    if (!host) return nullptr;
    auto group = std::make_unique<StagedGroup>(device_, std::move(host), in_flight_bytes);
    pinned_bytes_ += group->pinned_bytes();
    return group;
  }
  std::size_t library_bytes() const override { return world_.library_bytes() + pinned_bytes_; }

 private:
  Device& device_;
  const std::string why_;
  std::size_t pinned_bytes_ = 0;
};

}  // namespace

std::unique_ptr<Fabric> make_staged_fabric(World& world, Device& device, const std::string& why) {
  return std::make_unique<StagedFabric>(world, device, why);
}

}  // namespace seq1f1b::comm

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
#include "core/comm/host_fabric.h"
#include "kernels/common/errors.h"

namespace seq1f1b::comm {
namespace {

using kernels::Device;

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
  bool ready() override { return channel_->ready(); }

  std::size_t pinned_bytes() const { return pinned_.bytes(); }

 private:
  Device& device_;
  const std::vector<std::span<std::byte>> buffers_;
  PinnedRing pinned_;
  const std::unique_ptr<Receiver> channel_;
  std::deque<std::size_t> sizes_;  // of the messages not waited for
  std::size_t waited_ = 0;
};

// Down, added up by the host in member order, and up again, a slice at a time: a tied embedding is
// large and pinned memory expensive.
class StagedGroup final : public TensorGroup {
 public:
  static constexpr std::size_t kSliceBytes = std::size_t{1} << 22;

  StagedGroup(Device& device, std::unique_ptr<Group> group)
      : device_(device), group_(std::move(group)), slice_(device, kSliceBytes) {}

  void all_reduce_sum(const kernels::Tensor& values, const Describe& what) override {
    check_summable(values);
    if (values.dtype == kernels::Dtype::kF64)
      sum<double>(values, what);
    else
      sum<float>(values, what);
  }

 private:
  template <class Real>
  void sum(const kernels::Tensor& values, const Describe& what) {
    const auto elements = static_cast<std::size_t>(values.elements());
    constexpr std::size_t kMost = kSliceBytes / sizeof(Real);
    for (std::size_t first = 0; first < elements; first += kMost) {
      const std::span<Real> slice(reinterpret_cast<Real*>(slice_.data()),
                                  std::min(kMost, elements - first));
      device_.download(slice.data(), values.as<Real>() + first, slice.size_bytes());
      group_->all_reduce_sum(slice, what);
      device_.upload(values.as<Real>() + first, slice.data(), slice.size_bytes());
    }
  }

  Device& device_;
  const std::unique_ptr<Group> group_;
  const kernels::HostBuffer slice_;
};

class StagedFabric final : public Fabric {
 public:
  StagedFabric(World& world, Device& device, std::string why)
      : world_(world), device_(device), why_(std::move(why)) {}

  std::string description() const override {
    return concat(world_.description(), ", staged through host memory", why_.empty() ? "" : " (",
                  why_, why_.empty() ? "" : ")");
  }
  World& world() const override { return world_; }
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
  std::unique_ptr<TensorGroup> make_group(std::span<const int> members) override {
    auto group = world_.make_group(members);
    if (!group) return nullptr;
    pinned_bytes_ += StagedGroup::kSliceBytes;
    return std::make_unique<StagedGroup>(device_, std::move(group));
  }
  void connect() override {}  // the world connects by itself
  void wait_for(kernels::Event& event, const Describe& what) override {
    world_.wait_until([&] { return event.done(); }, [] { return std::string("the device"); }, what);
  }
  std::size_t library_bytes() const override { return world_.library_bytes() + pinned_bytes_; }

 private:
  World& world_;
  Device& device_;
  const std::string why_;
  std::size_t pinned_bytes_ = 0;
};

}  // namespace

std::unique_ptr<Fabric> make_staged_fabric(World& world, Device& device, const std::string& why) {
  return std::make_unique<StagedFabric>(world, device, why);
}

}  // namespace seq1f1b::comm

#include "core/comm/local_channel.h"

#include <utility>

#include "kernels/common/errors.h"

namespace seq1f1b::comm {
namespace {

// Counters only grow; message i lies in buffer i modulo the ring's depth.
struct Ring {
  std::vector<std::span<std::byte>> buffers;
  std::size_t acquired = 0, committed = 0, taken = 0, released = 0;

  std::byte* at(std::size_t message) const { return buffers[message % buffers.size()].data(); }
};

class LocalSender final : public Sender {
 public:
  explicit LocalSender(std::shared_ptr<Ring> ring) : ring_(std::move(ring)) {}
  std::byte* acquire(const Describe& what) override {
    SEQ1F1B_ASSERT(ring_->acquired - ring_->released < ring_->buffers.size(),
                   "no free buffer between two stages of this rank, ", what());
    return ring_->at(ring_->acquired++);
  }
  void commit(std::size_t bytes) override {
    SEQ1F1B_ASSERT(ring_->committed < ring_->acquired, "commit without acquire");
    SEQ1F1B_ASSERT(bytes <= ring_->buffers[ring_->committed % ring_->buffers.size()].size(),
                   "a message of ", bytes, " bytes");
    ++ring_->committed;
  }

 private:
  std::shared_ptr<Ring> ring_;
};

class LocalReceiver final : public Receiver {
 public:
  explicit LocalReceiver(std::shared_ptr<Ring> ring) : ring_(std::move(ring)) {}
  void expect(std::span<const std::size_t>) override {}  // whoever takes it wrote it as well
  const std::byte* wait(const Describe& what) override {
    SEQ1F1B_ASSERT(ring_->taken < ring_->committed, "no message between two stages of this rank, ",
                   what());
    return ring_->at(ring_->taken++);
  }
  void release() override {
    SEQ1F1B_ASSERT(ring_->released < ring_->taken, "release without wait");
    ++ring_->released;
  }

 private:
  std::shared_ptr<Ring> ring_;
};

}  // namespace

LocalChannel make_local_channel(std::vector<std::span<std::byte>> buffers) {
  SEQ1F1B_ASSERT(!buffers.empty(), "a channel without buffers");
  auto ring = std::make_shared<Ring>();
  ring->buffers = std::move(buffers);
  return {std::make_unique<LocalSender>(ring), std::make_unique<LocalReceiver>(ring)};
}

}  // namespace seq1f1b::comm

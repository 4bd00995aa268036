#include "core/comm/ring.h"

#include <exception>

#include "kernels/common/errors.h"

namespace seq1f1b::comm {
namespace {

std::vector<Transfer> make_transfers(const Transport& transport, Transfer::Direction direction,
                                     int peer, int id, std::size_t depth) {
  SEQ1F1B_ASSERT(peer >= 0 && peer < transport.size() && peer != transport.rank(),
                 "a channel of rank ", transport.rank(), " with rank ", peer, " of ",
                 transport.size());
  SEQ1F1B_ASSERT(id >= 0 && id <= transport.max_tag(), "channel id ", id, " is above ",
                 transport.max_tag());
  SEQ1F1B_ASSERT(depth > 0, "channel ", id, " with rank ", peer, " has no buffer");
  return std::vector<Transfer>(
      depth, Transfer{.direction = direction, .lane = Lane::kChannel, .peer = peer, .tag = id});
}

}  // namespace

RingSender::RingSender(Transport& transport, int to, int id,
                       std::vector<std::span<std::byte>> buffers)
    : transport_(transport),
      buffers_(std::move(buffers)),
      transfers_(make_transfers(transport, Transfer::Direction::kSend, to, id, buffers_.size())) {}

RingSender::~RingSender() {
  try {
    if (std::uncaught_exceptions() == 0 && transport_.healthy()) {
      transport_.wait(transfers_, [] { return std::string("closing a channel"); });
    }
  } catch (const std::exception&) {
    // The transport has failed; the next call of its owner reports it.
  }
  transport_.withdraw(transfers_);
}

std::byte* RingSender::acquire(const Describe& what) {
  const std::size_t depth = buffers_.size();
  // Waiting would be in vain: only this thread can commit.
  SEQ1F1B_ASSERT(acquired_ - committed_ < depth, "all ", depth,
                 " buffers are acquired and not committed");
  const std::size_t slot = acquired_ % depth;
  transport_.wait(std::span(&transfers_[slot], 1), what);
  ++acquired_;
  return buffers_[slot].data();
}

void RingSender::commit(std::size_t bytes) {
  SEQ1F1B_ASSERT(committed_ < acquired_, "commit without acquire");
  const std::size_t slot = committed_ % buffers_.size();
  SEQ1F1B_ASSERT(bytes <= buffers_[slot].size(), "a message of ", bytes, " bytes in a buffer of ",
                 buffers_[slot].size());
  transfers_[slot].bytes = buffers_[slot].first(bytes);
  transport_.post(std::span(&transfers_[slot], 1));
  ++committed_;
}

RingReceiver::RingReceiver(Transport& transport, int from, int id,
                           std::vector<std::span<std::byte>> buffers)
    : transport_(transport),
      buffers_(std::move(buffers)),
      transfers_(
          make_transfers(transport, Transfer::Direction::kReceive, from, id, buffers_.size())) {}

RingReceiver::~RingReceiver() { transport_.withdraw(transfers_); }

void RingReceiver::expect(std::span<const std::size_t> bytes) {
  announced_.insert(announced_.end(), bytes.begin(), bytes.end());
  post_into_free_buffers();
}

void RingReceiver::post_into_free_buffers() {
  while (!announced_.empty() && posted_ - released_ < buffers_.size()) {
    const std::size_t slot = posted_ % buffers_.size();
    const std::size_t bytes = announced_.front();
    SEQ1F1B_ASSERT(bytes <= buffers_[slot].size(), "a message of ", bytes, " bytes in a buffer of ",
                   buffers_[slot].size());
    transfers_[slot].bytes = buffers_[slot].first(bytes);
    transport_.post(std::span(&transfers_[slot], 1));
    announced_.pop_front();
    ++posted_;
  }
}

const std::byte* RingReceiver::wait(const Describe& what) {
  SEQ1F1B_ASSERT(waited_ < posted_,
                 "wait() for a message that was not announced or has no free buffer");
  const std::size_t slot = waited_ % buffers_.size();
  transport_.wait(std::span(&transfers_[slot], 1), what);
  ++waited_;
  return buffers_[slot].data();
}

void RingReceiver::release() {
  SEQ1F1B_ASSERT(released_ < waited_, "release() of a message that was not waited for");
  ++released_;
  post_into_free_buffers();
}

}  // namespace seq1f1b::comm

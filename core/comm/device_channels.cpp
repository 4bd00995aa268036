#include "core/comm/device_channels.h"

#include <algorithm>
#include <exception>
#include <iterator>

#include "core/comm/rank_names.h"
#include "kernels/common/errors.h"

namespace seq1f1b::comm {
namespace {

using kernels::Communicator;

using Events = std::vector<std::unique_ptr<kernels::Event>>;

// Within a channel's communicator.
constexpr int kSendingMember = 0, kReceivingMember = 1;

Events make_events(kernels::Device& device, std::size_t count) {
  Events events;
  for (std::size_t i = 0; i < count; ++i) events.push_back(device.make_event());
  return events;
}

bool all_done(const Events& events) {
  return std::ranges::all_of(events, [](const auto& event) { return event->done(); });
}

// Waits for `events`, unless an exception is being thrown or the fabric has failed. If they or the
// `others` are not done then, ends the connection: a transfer that waits on the device for its peer
// would hold up whatever frees memory, and the buffers may go away.
void close(DirectFabric& fabric, Link& link, const Events& events, const Events& others = {}) {
  if (!link.communicator || fabric.failed()) return;
  try {
    for (const auto& event : events)
      if (std::uncaught_exceptions() == 0)
        fabric.wait_for(*event, [] { return std::string("closing a channel"); });
    if (all_done(events) && all_done(others)) return;
  } catch (const std::exception&) {
    // The world or the device has failed; the next call of its owner reports it.
  }
  link.communicator->abort();
}

}  // namespace

DeviceSender::DeviceSender(DirectFabric& fabric, std::shared_ptr<Link> link,
                           std::vector<std::span<std::byte>> buffers)
    : fabric_(fabric),
      link_(std::move(link)),
      buffers_(std::move(buffers)),
      produced_(fabric.device().make_event()),
      sent_(make_events(fabric.device(), buffers_.size())) {}

DeviceSender::~DeviceSender() { close(fabric_, *link_, sent_); }

std::byte* DeviceSender::acquire(const Describe& what) {
  const std::size_t depth = buffers_.size();
  SEQ1F1B_ASSERT(acquired_ - committed_ < depth, "all ", depth,
                 " buffers are acquired and not committed");
  const std::size_t slot = acquired_ % depth;
  fabric_.waits().wait(*sent_[slot], concat("rank ", link_->connection.members[kReceivingMember]),
                       what);
  ++acquired_;
  return buffers_[slot].data();
}

void DeviceSender::commit(std::size_t bytes) {
  SEQ1F1B_ASSERT(committed_ < acquired_, "commit without acquire");
  const std::size_t slot = committed_ % buffers_.size();
  SEQ1F1B_ASSERT(bytes <= buffers_[slot].size(), "a message of ", bytes, " bytes in a buffer of ",
                 buffers_[slot].size());
  Communicator& communicator = link_->connected();
  fabric_.device().record(*produced_);
  communicator.wait(*produced_);
  // Both ends know the sizes: a message of none needs no exchange.
  if (bytes > 0) {
    communicator.send(buffers_[slot].data(), bytes, kReceivingMember);
    fabric_.await_ready(*link_, [&] {
      return concat("handing over message ", committed_, " of ", link_->connection.name());
    });
  }
  communicator.record(*sent_[slot]);
  ++committed_;
}

DeviceReceiver::DeviceReceiver(DirectFabric& fabric, std::shared_ptr<Link> link,
                               std::vector<std::span<std::byte>> buffers)
    : fabric_(fabric),
      link_(std::move(link)),
      buffers_(std::move(buffers)),
      arrived_(make_events(fabric.device(), buffers_.size())),
      freed_(make_events(fabric.device(), buffers_.size())) {
  // Whatever the main queue has done with this memory before comes first.
  for (const auto& freed : freed_) fabric_.device().record(*freed);
}

DeviceReceiver::~DeviceReceiver() {
  // The main queue waits for all messages that the caller asked for; once it has come so far, what
  // is still under way was announced only.
  Events asked_for;
  try {
    asked_for = make_events(fabric_.device(), 1);
    fabric_.device().record(*asked_for.front());
  } catch (const std::exception&) {
    // The device has failed, which is being reported: close() finds out and ends the connection.
  }
  close(fabric_, *link_, asked_for, arrived_);
}

void DeviceReceiver::expect(std::span<const std::size_t> bytes) {
  announced_.insert(announced_.end(), bytes.begin(), bytes.end());
  receive_into_free_buffers();
}

void DeviceReceiver::receive_into_free_buffers() {
  while (!announced_.empty() && issued_ - released_ < buffers_.size()) {
    const std::size_t slot = issued_ % buffers_.size();
    const std::size_t bytes = announced_.front();
    SEQ1F1B_ASSERT(bytes <= buffers_[slot].size(), "a message of ", bytes, " bytes in a buffer of ",
                   buffers_[slot].size());
    Communicator& communicator = link_->connected();
    communicator.wait(*freed_[slot]);
    if (bytes > 0) {
      communicator.receive(buffers_[slot].data(), bytes, kSendingMember);
      fabric_.await_ready(*link_, [&] {
        return concat("asking for message ", issued_, " of ", link_->connection.name());
      });
    }
    communicator.record(*arrived_[slot]);
    announced_.pop_front();
    ++issued_;
  }
}

const std::byte* DeviceReceiver::wait(const Describe& what) {
  SEQ1F1B_ASSERT(waited_ < issued_,
                 "wait() for a message that was not announced or has no free buffer");
  const std::size_t slot = waited_ % buffers_.size();
  fabric_.waits().wait(*arrived_[slot], concat("rank ", link_->connection.members[kSendingMember]),
                       what);
  ++waited_;
  return buffers_[slot].data();
}

void DeviceReceiver::release() {
  SEQ1F1B_ASSERT(released_ < waited_, "release() of a message that was not waited for");
  fabric_.device().record(*freed_[released_ % buffers_.size()]);
  ++released_;
  receive_into_free_buffers();
}

DeviceGroup::DeviceGroup(DirectFabric& fabric, std::shared_ptr<Link> link, int rank, int size,
                         std::size_t in_flight_bytes)
    : TensorGroup(rank, size, in_flight_bytes),
      fabric_(fabric),
      link_(std::move(link)),
      produced_(fabric.device().make_event()) {}

DeviceGroup::~DeviceGroup() {
  if (!link_) return;
  // The members that wait for this one would wait for it to close, too.
  if (std::uncaught_exceptions() > 0 && link_->communicator) {
    link_->communicator->abort();
    return;
  }
  // Those that were waited for, too: the main queue need not have come so far.
  std::ranges::move(spare_, std::back_inserter(in_flight_));
  close(fabric_, *link_, in_flight_);
}

void DeviceGroup::begin(const Collective& collective, const Describe& what) {
  Communicator& communicator = link_->connected();
  if (spare_.empty()) spare_.push_back(fabric_.device().make_event());
  fabric_.device().record(*produced_);
  communicator.wait(*produced_);
  switch (collective.kind) {
    case Kind::kAllReduceSum:
      communicator.all_reduce_sum(collective.values);
      break;
    case Kind::kReduceScatterSum:
      communicator.reduce_scatter_sum(collective.values);
      break;
    case Kind::kAllGather:
      communicator.all_gather(collective.values);
      break;
  }
  // NCCL connects the members anew for the first collective of a size or type that takes another
  // way than the trial did: that needs them all.
  fabric_.await_ready(*link_, what);
  communicator.record(*spare_.back());
  in_flight_.push_back(std::move(spare_.back()));
  spare_.pop_back();
}

void DeviceGroup::finish_oldest(const Describe& what) {
  fabric_.waits().wait(*in_flight_.front(), rank_names(link_->connection.members), what);
  spare_.push_back(std::move(in_flight_.front()));
  in_flight_.erase(in_flight_.begin());
}

}  // namespace seq1f1b::comm

#include "core/runtime/stage_loop.h"

#include <chrono>

#include "kernels/common/errors.h"

namespace seq1f1b::runtime {

using schedule::Action;
using schedule::Flow;

namespace {

comm::Receiver* receiver_of(const ChunkChannels& channels, Flow flow) {
  return flow == Flow::kActivation ? channels.activation_in
         : flow == Flow::kGradient ? channels.gradient_in
                                   : nullptr;
}
comm::Sender* sender_of(const ChunkChannels& channels, Flow flow) {
  return flow == Flow::kActivation ? channels.activation_out
         : flow == Flow::kGradient ? channels.gradient_out
                                   : nullptr;
}

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

StageLoop::StageLoop(const schedule::Schedule& schedule, int rank,
                     std::vector<ChunkChannels> channels, std::vector<std::size_t> message_bytes,
                     ActionRing* ring)
    : schedule_(schedule),
      order_(schedule.orders.at(static_cast<std::size_t>(rank))),
      channels_(std::move(channels)),
      message_bytes_(std::move(message_bytes)),
      activation_sizes_(channels_.size()),
      gradient_sizes_(channels_.size()),
      ring_(ring),
      events_(order_.size()) {
  SEQ1F1B_ASSERT(channels_.size() == static_cast<std::size_t>(schedule.spec.chunks),
                 "one set of channels per chunk");
  for (const Action& action : order_) {
    const auto chunk = static_cast<std::size_t>(action.chunk);
    const Flow flow = schedule::row_of(action.kind).receives;
    if (!receiver_of(channels_[chunk], flow)) continue;
    auto& sizes = flow == Flow::kActivation ? activation_sizes_ : gradient_sizes_;
    sizes[chunk].push_back(message_bytes_.at(static_cast<std::size_t>(action.unit.segment)));
  }
}

std::string StageLoop::describe(const Action& action, std::int64_t step, const char* what,
                                int peer) const {
  const auto& row = schedule::row_of(action.kind);
  return concat("running the ", row.name, " of micro-batch ", action.unit.micro_batch, ", segment ",
                action.unit.segment, ", chunk ", action.chunk, " (step ", step, ", schedule ",
                schedule_.spec.name, "), which needs ", what, " pipeline rank ", peer);
}

void StageLoop::run(ActionRunner& runner, std::int64_t step) {
  for (std::size_t chunk = 0; chunk < channels_.size(); ++chunk) {
    if (channels_[chunk].activation_in)
      channels_[chunk].activation_in->expect(activation_sizes_[chunk]);
    if (channels_[chunk].gradient_in) channels_[chunk].gradient_in->expect(gradient_sizes_[chunk]);
  }
  const double start = now();
  for (std::size_t index = 0; index < order_.size(); ++index) {
    const Action& action = order_[index];
    const auto& row = schedule::row_of(action.kind);
    const ChunkChannels& channels = channels_[static_cast<std::size_t>(action.chunk)];
    comm::Receiver* receiver = receiver_of(channels, row.receives);
    comm::Sender* sender = sender_of(channels, row.sends);
    Event& event = events_[index];
    const auto record = [&](Phase phase) {
      if (ring_) ring_->record(step, action, phase);
    };

    event.wait_begin = now() - start;
    const std::byte* received = nullptr;
    std::byte* output = nullptr;
    if (receiver) {
      record(Phase::kWaitsToReceive);
      received = receiver->wait([&] {
        const bool activation = row.receives == Flow::kActivation;
        return describe(action, step, activation ? "the activation of" : "the gradient of",
                        activation ? channels.previous_rank : channels.next_rank);
      });
    }
    if (sender) {
      record(Phase::kWaitsToSend);
      output = sender->acquire([&] {
        return describe(
            action, step, "a free send buffer towards",
            row.sends == Flow::kActivation ? channels.next_rank : channels.previous_rank);
      });
    }
    record(Phase::kRuns);
    event.begin = now() - start;
    bool released = receiver == nullptr;
    runner.run(action, index, received, output, [&] {
      SEQ1F1B_ASSERT(!released, "a message was released twice");
      receiver->release();
      released = true;
    });
    SEQ1F1B_ASSERT(released, "the runner kept a message");
    if (sender) sender->commit(message_bytes_.at(static_cast<std::size_t>(action.unit.segment)));
    event.end = now() - start;
    record(Phase::kDone);
  }
}

double StageLoop::busy_seconds() const {
  double busy = 0;
  for (const Event& event : events_) busy += event.end - event.begin;
  return busy;
}

}  // namespace seq1f1b::runtime

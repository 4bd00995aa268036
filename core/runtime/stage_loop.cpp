#include "core/runtime/stage_loop.h"

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

// Time stamps: two for every timed action, and behind them the begin and the end of the run.
constexpr std::size_t kOfRun = 2;
std::size_t timed_actions(std::size_t actions, std::size_t every) {
  return (actions + every - 1) / every;
}

}  // namespace

StageLoop::StageLoop(const schedule::Schedule& schedule, int rank,
                     std::vector<ChunkChannels> channels, std::vector<std::size_t> message_bytes,
                     comm::Fabric& fabric, kernels::Device& device, ActionRing* ring)
    : schedule_(schedule),
      order_(schedule.orders.at(static_cast<std::size_t>(rank))),
      channels_(std::move(channels)),
      message_bytes_(std::move(message_bytes)),
      activation_sizes_(channels_.size()),
      gradient_sizes_(channels_.size()),
      fabric_(fabric),
      device_(device),
      ring_(ring) {
  SEQ1F1B_ASSERT(channels_.size() == static_cast<std::size_t>(schedule.spec.chunks),
                 "one set of channels per chunk");
  for (const Action& action : order_) {
    const auto chunk = static_cast<std::size_t>(action.chunk);
    const Flow flow = schedule::row_of(action.kind).receives;
    if (!receiver_of(channels_[chunk], flow)) continue;
    auto& sizes = flow == Flow::kActivation ? activation_sizes_ : gradient_sizes_;
    sizes[chunk].push_back(message_bytes_.at(static_cast<std::size_t>(action.unit.segment)));
  }
  for (const Action& action : order_) names_.push_back(schedule::to_string(action));
  for (auto& event : events_) event = device_.make_event();

  // An odd step through the order meets forwards and backwards alike.
  while (2 * timed_actions(order_.size(), timed_every_) + kOfRun > kernels::Device::kTimeStamps)
    timed_every_ += 2;
  times_.resize(timed_actions(order_.size(), timed_every_));
  // A device may make what belongs to a stamp when it is first used: not during a step.
  for (int i = 0; i <= end_stamp(); ++i) device_.stamp(i);
}

std::string StageLoop::describe(const Action& action, std::int64_t step, const char* what,
                                int peer) const {
  std::string text = concat("running the ", schedule::describe(action), " (step ", step,
                            ", schedule ", schedule_.spec.name, ")");
  return what ? concat(text, ", which needs ", what, " pipeline rank ", peer) : text;
}

// The device has not come to the end of the action: mostly since what it needs has not come.
std::string StageLoop::describe_stuck(const Action& action, std::int64_t step) const {
  const Flow flow = schedule::row_of(action.kind).receives;
  const ChunkChannels& channels = channels_[static_cast<std::size_t>(action.chunk)];
  if (!receiver_of(channels, flow)) return describe(action, step, nullptr, -1);
  const bool activation = flow == Flow::kActivation;
  return describe(action, step, activation ? "the activation of" : "the gradient of",
                  activation ? channels.previous_rank : channels.next_rank);
}

void StageLoop::announce_messages() {
  for (std::size_t chunk = 0; chunk < channels_.size(); ++chunk) {
    if (channels_[chunk].activation_in)
      channels_[chunk].activation_in->expect(activation_sizes_[chunk]);
    if (channels_[chunk].gradient_in) channels_[chunk].gradient_in->expect(gradient_sizes_[chunk]);
  }
}

void StageLoop::run(ActionRunner& runner, std::int64_t step) {
  announce_messages();
  issued_ = done_ = 0;
  device_.stamp(begin_stamp());
  while (issued_ < order_.size()) {
    retire(kMostAhead - 1, step);
    issue(runner, issued_, step);
    // Before the event that retire waits for: behind it, the stamp may not have passed yet.
    if (issued_ + 1 == order_.size()) device_.stamp(end_stamp());
    device_.record(*events_[issued_ % kMostAhead]);
    ++issued_;
  }
  retire(0, step);
  read_times();
}

void StageLoop::issue(ActionRunner& runner, std::size_t index, std::int64_t step) {
  const Action& action = order_[index];
  const auto& row = schedule::row_of(action.kind);
  const ChunkChannels& channels = channels_[static_cast<std::size_t>(action.chunk)];
  comm::Receiver* receiver = receiver_of(channels, row.receives);
  comm::Sender* sender = sender_of(channels, row.sends);
  const auto record = [&](Phase phase) {
    if (ring_) ring_->record(step, action, phase);
  };

  device_.push_range(names_[index].c_str());
  const std::byte* received = nullptr;
  std::byte* output = nullptr;
  if (receiver) {
    record(Phase::kWaitsToReceive);
    received = receiver->wait([&] { return describe_stuck(action, step); });
  }
  if (sender) {
    record(Phase::kWaitsToSend);
    output = sender->acquire([&] {
      return describe(action, step, "a free send buffer towards",
                      row.sends == Flow::kActivation ? channels.next_rank : channels.previous_rank);
    });
  }
  record(Phase::kRuns);
  // Launches into a queue that is full wait for the device, out of reach of the fabric's deadline.
  const auto watched = [&](const auto& launches) {
    const auto watch =
        device_.is_host() ? nullptr : fabric_.world().watch(describe_stuck(action, step));
    launches();
  };
  const bool timed = index % timed_every_ == 0;
  const int stamp = static_cast<int>(index / timed_every_ * 2);
  if (timed) device_.stamp(stamp);
  if (receiver) {
    watched([&] { runner.take(action, index, received); });
    receiver->release();
  }
  watched([&] { runner.run(action, index, output); });
  if (timed) device_.stamp(stamp + 1);
  if (sender) sender->commit(message_bytes_.at(static_cast<std::size_t>(action.unit.segment)));
  device_.pop_range();
}

// Takes note of what is done, and waits until at most `allowed` actions are not.
void StageLoop::retire(std::size_t allowed, std::int64_t step) {
  for (; done_ < issued_; ++done_) {
    const Action& action = order_[done_];
    kernels::Event& event = *events_[done_ % kMostAhead];
    if (!event.done()) {
      if (issued_ - done_ <= allowed) return;
      fabric_.wait_for(event, [&] { return describe_stuck(action, step); });
    }
    if (ring_) ring_->record(step, action, Phase::kDone);
  }
}

void StageLoop::read_times() {
  const auto since_begin = [&](int stamp) { return device_.seconds_between(begin_stamp(), stamp); };
  int stamp = 0;
  for (ActionTimes& times : times_) {
    times.begin = since_begin(stamp++);
    times.end = since_begin(stamp++);
  }
  total_seconds_ = since_begin(end_stamp());
}

double StageLoop::busy_seconds() const {
  double busy = 0;
  for (const ActionTimes& times : times_) busy += times.end - times.begin;
  return times_.empty()
             ? 0
             : busy * static_cast<double>(order_.size()) / static_cast<double>(times_.size());
}

}  // namespace seq1f1b::runtime

#include "core/runtime/stage_loop.h"

#include "kernels/common/errors.h"

namespace seq1f1b::runtime {

using schedule::Action;
using schedule::Flow;

namespace {

// Time stamps: two for every timed action, and behind them the begin and the end of the run.
constexpr std::size_t kOfRun = 2;
std::size_t timed_actions(std::size_t actions, std::size_t every) {
  return (actions + every - 1) / every;
}

}  // namespace

StageLoop::StageLoop(const schedule::Schedule& schedule, int rank, std::vector<ChunkPorts> ports,
                     MessageBytes message_bytes, comm::Fabric& fabric, kernels::Device& device,
                     ActionRing* ring)
    : schedule_(schedule),
      order_(schedule.orders.at(static_cast<std::size_t>(rank))),
      ports_(std::move(ports)),
      message_bytes_(std::move(message_bytes)),
      expected_(ports_.size()),
      fabric_(fabric),
      device_(device),
      ring_(ring) {
  SEQ1F1B_ASSERT(ports_.size() == static_cast<std::size_t>(schedule.spec.chunks),
                 "one set of ports per chunk");
  for (const Action& action : order_) {
    names_.push_back(schedule::to_string(action));
    if (in_port(action))
      expected_[static_cast<std::size_t>(action.chunk)]
               [static_cast<std::size_t>(*schedule::row_of(action.kind).receives)]
                   .push_back(message_bytes_(action.unit));
  }
  for (auto& event : events_) event = device_.make_event();

  // An odd step through the order meets forwards and backwards alike.
  while (2 * timed_actions(order_.size(), timed_every_) + kOfRun > kernels::Device::kTimeStamps)
    timed_every_ += 2;
  times_.resize(timed_actions(order_.size(), timed_every_));
  // A device may make what belongs to a stamp when it is first used: not during a step.
  for (int i = 0; i <= end_stamp(); ++i) device_.stamp(i);
}

const Port* StageLoop::in_port(const Action& action) const {
  const std::optional<Flow> flow = schedule::row_of(action.kind).receives;
  if (!flow) return nullptr;
  const Port& port = ports_[static_cast<std::size_t>(action.chunk)][*flow];
  return port.receiver ? &port : nullptr;
}

const Port* StageLoop::out_port(const Action& action) const {
  const std::optional<Flow> flow = schedule::row_of(action.kind).sends;
  if (!flow) return nullptr;
  const Port& port = ports_[static_cast<std::size_t>(action.chunk)][*flow];
  return port.sender ? &port : nullptr;
}

std::string StageLoop::describe(const Action& action, std::int64_t step, const std::string& what,
                                int peer) const {
  const std::string text = concat("running the ", schedule::describe(action), " (step ", step,
                                  ", schedule ", schedule_.spec.name, ")");
  return what.empty() ? text : concat(text, ", which needs ", what, " pipeline rank ", peer);
}

// The device has not come to the end of the action: mostly since what it needs has not come.
std::string StageLoop::describe_stuck(const Action& action, std::int64_t step) const {
  const Port* in = in_port(action);
  if (!in) return describe(action, step);
  const Flow flow = *schedule::row_of(action.kind).receives;
  return describe(action, step, concat("the ", schedule::row_of(flow).name, " of"), in->from_rank);
}

void StageLoop::announce_messages() {
  for (std::size_t chunk = 0; chunk < ports_.size(); ++chunk)
    for (const schedule::FlowRow& row : schedule::flow_table())
      if (comm::Receiver* receiver = ports_[chunk][row.flow].receiver)
        receiver->expect(expected_[chunk][static_cast<std::size_t>(row.flow)]);
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
  const Port* in = in_port(action);
  const Port* out = out_port(action);
  const auto record = [&](Phase phase) {
    if (ring_) ring_->record(step, action, phase);
  };

  device_.push_range(names_[index].c_str());
  const std::byte* received = nullptr;
  std::byte* output = nullptr;
  if (in) {
    record(Phase::kWaitsToReceive);
    received = in->receiver->wait([&] { return describe_stuck(action, step); });
  }
  if (out) {
    record(Phase::kWaitsToSend);
    output = out->sender->acquire(
        [&] { return describe(action, step, "a free send buffer towards", out->to_rank); });
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
  if (in) {
    watched([&] { runner.take(action, index, received); });
    in->receiver->release();
  }
  watched([&] { runner.run(action, index, output); });
  if (timed) device_.stamp(stamp + 1);
  if (out) out->sender->commit(message_bytes_(action.unit));
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

#pragma once
// Executes one rank's order of a schedule: waits for messages, calls the runner, hands results
// over. Has no idea of its own of 1F1B, and none of models.
//
// Everything is issued on the device's main queue and nothing waits for it, but that the host never
// is more than kMostAhead actions ahead of the device. On a device that computes on the host every
// call returns when its work is done.
#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/comm/fabric.h"
#include "core/runtime/action_ring.h"
#include "core/runtime/ports.h"
#include "core/schedule/schedule.h"
#include "kernels/device.h"

namespace seq1f1b::runtime {

// What an action does. The model implements it; tests use fakes. `index`: position in the order.
class ActionRunner {
 public:
  virtual ~ActionRunner() = default;
  // Copies the action's message away: its buffer is free for the next one when the copy is done.
  // Not called for an action that receives none.
  virtual void take(const schedule::Action& action, std::size_t index,
                    const std::byte* received) = 0;
  // The work itself. output: where to write the message to send, or null.
  virtual void run(const schedule::Action& action, std::size_t index, std::byte* output) = 0;
};

// Measured times of one action on the device's clock, seconds since run() began. Waiting for a
// message or for a free buffer comes before `begin`.
struct ActionTimes {
  double begin = 0, end = 0;
};

class StageLoop {
 public:
  // Actions issued and not known to be done. Enough that the device always has work while the host
  // looks, few enough that graphs never fill the queue of a device that waits for a peer, where
  // the host would block. Single launches may (a CUDA queue takes about a thousand).
  static constexpr std::size_t kMostAhead = 4;

  using MessageBytes = std::function<std::size_t(schedule::Unit unit)>;
  // `ports` by chunk. Schedule, fabric and device outlive the loop.
  StageLoop(const schedule::Schedule& schedule, int rank, std::vector<ChunkPorts> ports,
            MessageBytes message_bytes, comm::Fabric& fabric, kernels::Device& device,
            ActionRing* ring);

  // The whole order once; the device is done with it on return. Throws DeadlineError, naming the
  // oldest action that is not done, when a peer does not respond.
  void run(ActionRunner& runner, std::int64_t step);

  // Of the last run: every timed_every()-th action of the order. 1 but for orders that are longer
  // than a device has time stamps.
  std::span<const ActionTimes> times() const { return times_; }
  std::size_t timed_every() const { return timed_every_; }
  double busy_seconds() const;  // inside actions; an estimate where not all are timed
  double total_seconds() const { return total_seconds_; }

 private:
  std::string describe(const schedule::Action& action, std::int64_t step,
                       const std::string& what = "", int peer = -1) const;
  std::string describe_stuck(const schedule::Action& action, std::int64_t step) const;
  const Port* in_port(const schedule::Action& action) const;   // null: it receives nothing
  const Port* out_port(const schedule::Action& action) const;  // null: it sends nothing
  void announce_messages();
  void issue(ActionRunner& runner, std::size_t index, std::int64_t step);
  void retire(std::size_t allowed, std::int64_t step);
  void read_times();
  int begin_stamp() const { return static_cast<int>(2 * times_.size()); }
  int end_stamp() const { return begin_stamp() + 1; }

  const schedule::Schedule& schedule_;
  const schedule::Order& order_;
  std::vector<ChunkPorts> ports_;
  MessageBytes message_bytes_;
  // [chunk][flow]: the sizes of the messages of one run, in order.
  std::vector<std::array<std::vector<std::size_t>, schedule::kFlows>> expected_;
  std::vector<std::string> names_;  // of every action
  comm::Fabric& fabric_;
  kernels::Device& device_;
  ActionRing* ring_;
  // Actions [done_, issued_) are on the device; each has the event number i % kMostAhead.
  std::array<std::unique_ptr<kernels::Event>, kMostAhead> events_;
  std::size_t issued_ = 0, done_ = 0;
  std::vector<ActionTimes> times_;
  std::size_t timed_every_ = 1;
  double total_seconds_ = 0;
};

}  // namespace seq1f1b::runtime

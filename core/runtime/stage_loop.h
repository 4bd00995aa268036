#pragma once
// Executes one rank's order of a schedule: waits for messages, calls the runner, hands results
// over. Has no idea of its own of 1F1B, and none of models.
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/comm/channel.h"
#include "core/runtime/action_ring.h"
#include "core/schedule/schedule.h"

namespace seq1f1b::runtime {

// What an action does. The model implements it; tests use fakes.
class ActionRunner {
 public:
  virtual ~ActionRunner() = default;
  // `index`: position in the order. received: the action's message or null; `taken` must be called
  // once it has been read, and frees its buffer. output: where to write the message to send, or
  // null.
  virtual void run(const schedule::Action& action, std::size_t index, const std::byte* received,
                   std::byte* output, const std::function<void()>& taken) = 0;
};

// The channel ends of one chunk; null at the ends of the pipeline.
struct ChunkChannels {
  comm::Receiver* activation_in = nullptr;
  comm::Sender* activation_out = nullptr;
  comm::Receiver* gradient_in = nullptr;
  comm::Sender* gradient_out = nullptr;
  int previous_rank = -1, next_rank = -1;  // peers, for messages
};

// Measured times of one action, seconds since the start of run().
struct Event {
  double wait_begin = 0;  // began to wait for message or buffer
  double begin = 0, end = 0;
};

class StageLoop {
 public:
  // `message_bytes` by segment. The schedule outlives the loop.
  StageLoop(const schedule::Schedule& schedule, int rank, std::vector<ChunkChannels> channels,
            std::vector<std::size_t> message_bytes, ActionRing* ring);

  // The whole order once. Throws DeadlineError when a peer stays away.
  void run(ActionRunner& runner, std::int64_t step);

  std::span<const Event> events() const { return events_; }  // of the last run
  double busy_seconds() const;
  double total_seconds() const { return events_.empty() ? 0 : events_.back().end; }

 private:
  std::string describe(const schedule::Action& action, std::int64_t step, const char* what,
                       int peer) const;

  const schedule::Schedule& schedule_;
  const schedule::Order& order_;
  std::vector<ChunkChannels> channels_;
  std::vector<std::size_t> message_bytes_;
  std::vector<std::vector<std::size_t>> activation_sizes_, gradient_sizes_;  // [chunk], of one run
  ActionRing* ring_;
  std::vector<Event> events_;
};

}  // namespace seq1f1b::runtime

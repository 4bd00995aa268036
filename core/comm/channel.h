#pragma once
// One-way FIFO links between two ranks, and groups of ranks. See schedule.h: a channel belongs to
// an edge between adjacent stages and a direction. Both ends know every message's size beforehand,
// so nothing but payload travels.
//
// Threads: one thread per rank (the stage loop's) calls these interfaces; what moves the bytes
// meanwhile is the implementation's business.
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/comm/watch.h"

namespace seq1f1b::comm {

// Says what the caller is doing, for the message of an expired deadline, e.g.
// "backward of micro-batch 3, segment 1 (step 12)". Called when the deadline has expired, or at
// once where the host leaves the waiting to the device.
using Describe = std::function<std::string()>;

class Sender {
 public:
  // Waits until the receiver has taken every message, unless an exception is being thrown.
  virtual ~Sender() = default;
  // A free send buffer of the ring to write the next message into; waits while all are in flight. A
  // message is in flight until the receiver has a free buffer for it: nothing is buffered besides
  // the rings. Several buffers may be acquired before they are committed, in the same order.
  virtual std::byte* acquire(const Describe& what) = 0;
  // Hands the acquired buffer's first `bytes` over; returns at once. The buffer must not be touched
  // again before it is acquired again.
  virtual void commit(std::size_t bytes) = 0;
};

class Receiver {
 public:
  virtual ~Receiver() = default;
  // Announces the sizes of the next messages, in order. The implementation posts as many as it has
  // free buffers, so that they arrive while the caller computes.
  virtual void expect(std::span<const std::size_t> bytes) = 0;
  // The next message, in place; waits for its arrival. Each call returns the following message;
  // those not released yet stay valid, up to the depth of the ring.
  virtual const std::byte* wait(const Describe& what) = 0;
  // The oldest message waited for is no longer needed: its buffer may be overwritten.
  virtual void release() = 0;
  // True when the next message has arrived: wait() would return at once.
  virtual bool ready() = 0;
};

// All members call the same operations in the same order. Results are bit-identical on all members:
// sums run in member order.
class Group {
 public:
  virtual ~Group() = default;
  virtual int rank() const = 0;  // within the group
  virtual int size() const = 0;
  virtual void all_reduce_sum(std::span<double> values, const Describe& what) = 0;
  virtual void all_reduce_sum(std::span<float> values, const Describe& what) = 0;
  // The root's bytes to all; sizes equal everywhere.
  virtual void broadcast(std::span<std::byte> bytes, int root, const Describe& what) = 0;
  // Every member's string, by member.
  virtual std::vector<std::string> all_gather(const std::string& mine, const Describe& what) = 0;
  virtual void barrier(const Describe& what) = 0;

  // Watches over what this rank does on its own while the object lives, files above all, in `what`
  // words ("loading the tokenizer"). Where it makes no progress before the deadline of waits for
  // peers, the job ends as it does for an unresponsive peer: "rank 2 (host): made no progress for
  // 600 s while WHAT". Neither made nor alive during another call of the group, which has a
  // deadline of its own. Not collective.
  virtual std::unique_ptr<Watch> watch(const std::string& what) = 0;
};

}  // namespace seq1f1b::comm

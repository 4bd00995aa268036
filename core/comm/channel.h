#pragma once
// One-way FIFO links between two ranks. See schedule.h: a channel belongs to an edge between
// adjacent stages and a direction. Both ends know every message's size beforehand, so nothing but
// payload travels.
//
// Threads: one thread per rank (the stage loop's) calls these interfaces; what moves the bytes
// meanwhile is the implementation's business.
#include <cstddef>
#include <span>

#include "core/comm/describe.h"

namespace seq1f1b::comm {

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
};

}  // namespace seq1f1b::comm

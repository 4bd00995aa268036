#pragma once
// The two ends of a channel over a transport. Counters only grow; message i lives in buffer
// i modulo the ring's depth.
#include <deque>
#include <vector>

#include "core/comm/channel.h"
#include "core/comm/transport.h"

namespace seq1f1b::comm {

class RingSender final : public Sender {
 public:
  RingSender(Transport& transport, int to, int id, std::vector<std::span<std::byte>> buffers);
  // Waits for the messages under way, unless an exception is being thrown or the job has failed.
  ~RingSender() override;

  std::byte* acquire(const Describe& what) override;
  void commit(std::size_t bytes) override;

 private:
  Transport& transport_;
  const std::vector<std::span<std::byte>> buffers_;
  std::vector<Transfer> transfers_;  // one per buffer
  std::size_t acquired_ = 0;
  std::size_t committed_ = 0;
};

class RingReceiver final : public Receiver {
 public:
  RingReceiver(Transport& transport, int from, int id, std::vector<std::span<std::byte>> buffers);
  ~RingReceiver() override;

  void expect(std::span<const std::size_t> bytes) override;
  const std::byte* wait(const Describe& what) override;
  void release() override;

 private:
  void post_into_free_buffers();

  Transport& transport_;
  const std::vector<std::span<std::byte>> buffers_;
  std::vector<Transfer> transfers_;
  std::deque<std::size_t> announced_;  // sizes of messages announced and not yet posted
  std::size_t posted_ = 0;
  std::size_t waited_ = 0;
  std::size_t released_ = 0;
};

}  // namespace seq1f1b::comm

#pragma once
// The two ends of a channel over a communicator, and a group over one. As in ring.h counters only
// grow and message i lives in buffer i modulo the ring's depth; but they count what the host has
// issued, and events tell the queues when each buffer may be used.
#include <deque>
#include <memory>
#include <vector>

#include "core/comm/direct_fabric.h"

namespace seq1f1b::comm {

class DeviceSender final : public Sender {
 public:
  DeviceSender(DirectFabric& fabric, std::shared_ptr<Link> link,
               std::vector<std::span<std::byte>> buffers);
  // Waits for the messages under way; unless an exception is being thrown, which ends them.
  ~DeviceSender() override;

  std::byte* acquire(const Describe& what) override;
  void commit(std::size_t bytes) override;

 private:
  DirectFabric& fabric_;
  const std::shared_ptr<Link> link_;
  const std::vector<std::span<std::byte>> buffers_;
  std::unique_ptr<kernels::Event> produced_;           // the message being committed
  std::vector<std::unique_ptr<kernels::Event>> sent_;  // by buffer: its last message
  std::size_t acquired_ = 0, committed_ = 0;
};

class DeviceReceiver final : public Receiver {
 public:
  DeviceReceiver(DirectFabric& fabric, std::shared_ptr<Link> link,
                 std::vector<std::span<std::byte>> buffers);
  // Waits for the messages that were waited for, unless an exception is being thrown; ends the
  // connection when others were announced and have not come.
  ~DeviceReceiver() override;

  void expect(std::span<const std::size_t> bytes) override;
  const std::byte* wait(const Describe& what) override;
  void release() override;
  bool ready() override;

 private:
  void receive_into_free_buffers();

  DirectFabric& fabric_;
  const std::shared_ptr<Link> link_;
  const std::vector<std::span<std::byte>> buffers_;
  std::vector<std::unique_ptr<kernels::Event>> arrived_, freed_;  // by buffer
  std::deque<std::size_t> announced_;  // sizes of messages announced and not yet issued
  std::size_t issued_ = 0, waited_ = 0, released_ = 0;
};

// A sum over one member is its own; else `link` is connected to the others.
class DeviceGroup final : public TensorGroup {
 public:
  DeviceGroup(DirectFabric& fabric, std::shared_ptr<Link> link);
  // Waits for the sums under way; unless an exception is being thrown, which ends them.
  ~DeviceGroup() override;

  void all_reduce_sum(const kernels::Tensor& values, const Describe& what) override;

 private:
  DirectFabric& fabric_;
  const std::shared_ptr<Link> link_;  // null: alone
  std::unique_ptr<kernels::Event> produced_;
  std::vector<std::unique_ptr<kernels::Event>> summed_;  // one
};

}  // namespace seq1f1b::comm

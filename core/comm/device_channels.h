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

 private:
  void receive_into_free_buffers();

  DirectFabric& fabric_;
  const std::shared_ptr<Link> link_;
  const std::vector<std::span<std::byte>> buffers_;
  std::vector<std::unique_ptr<kernels::Event>> arrived_, freed_;  // by buffer
  std::deque<std::size_t> announced_;  // sizes of messages announced and not yet issued
  std::size_t issued_ = 0, waited_ = 0, released_ = 0;
};

// Collectives over a communicator. Its queue does them in the order of starting; an event each says
// when it is done.
class DeviceGroup final : public TensorGroup {
 public:
  // `link` is connected to the others; null where there are none.
  DeviceGroup(DirectFabric& fabric, std::shared_ptr<Link> link, int rank, int size,
              std::size_t in_flight_bytes);
  // Waits for what is under way; unless an exception is being thrown, which ends the connection.
  ~DeviceGroup() override;

 private:
  void begin(const Collective& collective, const Describe& what) override;
  void finish_oldest(const Describe& what) override;

  DirectFabric& fabric_;
  const std::shared_ptr<Link> link_;
  const std::unique_ptr<kernels::Event> produced_;  // what is being started
  // Recorded behind collectives: of those that are not finished, oldest first, and before.
  std::vector<std::unique_ptr<kernels::Event>> in_flight_, spare_;
};

}  // namespace seq1f1b::comm

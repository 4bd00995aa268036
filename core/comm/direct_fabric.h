#pragma once
// Device memory from device to device: every channel and every group has a communicator of its own
// (kernels/communicator.h), and events order its queue against the device's main queue. The host
// issues everything in the order of the schedule and may run ahead of the device; it waits in
// connect() and wait_for() alone, where a channel or group closes, and for all members where a
// collective is the first of its kind.
//
// A communicator per channel, also where several edges join two ranks: one that carried several
// would make a message wait for all that were sent before it on other edges, which the validator's
// proof knows nothing of.
//
// Deadlock: a receive is issued as soon as its buffer of the ring is released, a send as soon as
// its message is, and the queues order each behind exactly what the validator assumes: the release,
// the message, the buffer's last send. So whatever completes under the validator's rules does here,
// wherever the host stops to wait for its own device; nor does timing matter, as
// tests/core/runtime/fabric_loop_test.cpp says, which runs every schedule. Receives of one channel
// run one after another: at most one occupies multiprocessors while it waits for its message. All
// this needs a device that does what waits side by side: a work queue for every stream
// (kernels/cuda/backend.h), and more multiprocessors than all channels may occupy.
#include <functional>

#include "core/comm/connection_plan.h"
#include "core/comm/device_waits.h"
#include "core/comm/fabric.h"
#include "kernels/communicator.h"

namespace seq1f1b::comm {

struct CommunicatorFactory {
  std::string name;  // "NCCL"
  std::string hint;  // for members that do not find each other; may be empty
  std::function<kernels::CommunicatorId()> make_id;
  std::function<std::unique_ptr<kernels::Communicator>(const kernels::CommunicatorOptions&)> make;
};

// This rank's end of a connection. Shared by the fabric, which makes the communicator and closes it
// at the end, and the channel or group that uses it.
struct Link {
  Connection connection;
  std::unique_ptr<kernels::Communicator> communicator;  // null before connect()

  kernels::Communicator& connected() const;
};

class DirectFabric final : public Fabric {
 public:
  DirectFabric(World& world, kernels::Device& device, CommunicatorFactory factory);
  // Closes all communicators, for which the other ranks do the same at about this time.
  ~DirectFabric() override;

  std::string description() const override { return factory_.name; }
  std::unique_ptr<Sender> make_sender(int to, int id,
                                      std::vector<std::span<std::byte>> buffers) override;
  std::unique_ptr<Receiver> make_receiver(int from, int id,
                                          std::vector<std::span<std::byte>> buffers) override;
  std::unique_ptr<TensorGroup> make_group(
      std::span<const int> members,
      std::size_t in_flight_bytes = TensorGroup::kInFlightBytes) override;
  void connect() override;
  void wait_for(kernels::Event& event, const Describe& what) override;

  // For channels and groups.
  kernels::Device& device() { return device_; }
  DeviceWaits& waits() { return waits_; }
  bool failed() const { return failed_; }
  // Returns when the communicator takes the next call: its last operation is in its queue, and what
  // that had to set up with other members, if anything, is there. Throws as wait_for does.
  void await_ready(Link& link, const Describe& what);

 private:
  std::shared_ptr<Link> add(Connection connection);
  std::unique_ptr<Watch> watch_start();
  void connect(Link& link);
  void exchange(Link& link);
  void check_failure(Link& link, const Describe& what);
  void check_failures(const Describe& what);
  void abort() noexcept;
  // Waits in the world's words; aborts all communicators when that fails.
  void wait_until(const std::function<bool()>& done, const Describe& whom, const Describe& what);

  kernels::Device& device_;
  const CommunicatorFactory factory_;
  DeviceWaits waits_;
  const std::unique_ptr<Group> all_;  // of the host
  std::vector<std::shared_ptr<Link>> pending_, links_;
  int groups_made_ = 0;
  kernels::DeviceBuffer trial_;  // what connect() exchanges
  bool failed_ = false;
};

}  // namespace seq1f1b::comm

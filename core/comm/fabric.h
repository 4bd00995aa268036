#pragma once
// Device memory between ranks: channels and groups as the stage loop sees them, whatever carries
// them.
//
// Three kinds, described in docs/communication.md: the world itself, where the device computes on
// the host; NCCL, where every rank has a GPU of its own; the world with messages staged through
// pinned host memory, for several ranks on one GPU and where launches block.
//
// The interfaces are those of channel.h and tensor_group.h, in queue order (kernels/device.h): a
// buffer that acquire() or wait() returns may be used by work issued on the device's main queue
// from then on; commit() and release() follow the work issued before them. On a device that
// computes on the host this is the plain meaning. Whether a wait blocks the host is the fabric's
// business; wait_for() is where a caller waits for the device, and where an unresponsive peer is
// noticed.
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/comm/channel.h"
#include "core/comm/tensor_group.h"
#include "core/comm/world.h"
#include "kernels/device.h"

namespace seq1f1b::kernels::cuda {
struct Module;
}

namespace seq1f1b::comm {

// Outlives its channels and groups; world and device outlive it. One thread calls it and all that
// it made, in the order of the schedule. This class is the fabric of devices that compute on the
// host, whose memory is the world's; those of other devices derive from it.
class Fabric {
 public:
  explicit Fabric(World& world) : world_(world) {}
  virtual ~Fabric() = default;
  Fabric(const Fabric&) = delete;
  Fabric& operator=(const Fabric&) = delete;

  World& world() const { return world_; }
  // "MPI", "NCCL", "MPI, staged through host memory (ranks share a GPU)"
  virtual std::string description() const;
  // As World's; the buffers are device memory. Usable after the next connect().
  virtual std::unique_ptr<Sender> make_sender(int to, int id,
                                              std::vector<std::span<std::byte>> buffers);
  virtual std::unique_ptr<Receiver> make_receiver(int from, int id,
                                                  std::vector<std::span<std::byte>> buffers);
  // Collective over the world, same member lists in the same order on all ranks; null on ranks that
  // are not members. Usable after the next connect(). `in_flight_bytes`: the most that the tensors
  // of collectives started and not waited for take together, each rounded up to 64 bytes; what is
  // staged is staged in so much pinned memory, twice.
  virtual std::unique_ptr<TensorGroup> make_group(
      std::span<const int> members, std::size_t in_flight_bytes = TensorGroup::kInFlightBytes);
  // Collective over the world: connects what was made since the last call, and exchanges one
  // message over each where connections and kernels would otherwise be loaded in the first step.
  virtual void connect() {}
  // Returns when `event` is done. Throws DeadlineError like World's waits when it is not done
  // within the deadline or when the transport failed; `what` says what the device was doing.
  // Whatever may block the host until the device has come so far (download, synchronize) belongs
  // behind it.
  virtual void wait_for(kernels::Event& event, const Describe& what);
  // Host memory of channels and groups, as far as known: the world's and pinned buffers. What
  // communicators hold of the device's is in Ops::library_bytes.
  virtual std::size_t library_bytes() const { return world_.library_bytes(); }

 protected:
  World& world_;
};

// By rank, how many ranks have that rank's device: 1 where none is shared. Collective.
std::vector<int> sharing_ranks(World& world, const kernels::Device& device,
                               const kernels::cuda::Module& module);

// Chooses, the same on all ranks. Collective. `module` is null unless the device is the module's.
std::unique_ptr<Fabric> connect_devices(World& world, kernels::Device& device,
                                        const kernels::cuda::Module* module = nullptr);

// For tests: staged on any device.
std::unique_ptr<Fabric> make_staged_fabric(World& world, kernels::Device& device,
                                           const std::string& why = "");

}  // namespace seq1f1b::comm

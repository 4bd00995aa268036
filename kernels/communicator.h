#pragma once
// Ranks that move device memory among themselves, without the host in between: NCCL on NVIDIA GPUs.
#include <array>
#include <cstddef>
#include <string>

#include "kernels/common/tensor.h"
#include "kernels/device.h"

namespace seq1f1b::kernels {

// Names one communicator; made by one member and given to all others by other means.
using CommunicatorId = std::array<std::byte, 128>;

// One member's end. Has an in-order queue of its own, beside the device's main queue; events tie
// the two together. All members issue matching operations in the same order. Nothing blocks the
// host: construction and operations may go on behind the caller's back, those that need another
// member's part (construction, the first operation with a peer) until it has come. Before the next
// call the caller waits until ready() says true, for as long as it pleases.
//
// Errors of the transport show in failure(); whoever waits for an event must look at it.
class Communicator {
 public:
  // Waits a little for what is under way and for the other members to finish too.
  virtual ~Communicator() = default;
  // Whether the last call is in the queue and the next may come; also when it has failed.
  virtual bool ready() = 0;
  virtual void wait(Event& event) = 0;    // what is issued from now on runs after it
  virtual void record(Event& event) = 0;  // behind everything issued so far on this queue

  virtual void send(const void* data, std::size_t bytes, int peer) = 0;
  virtual void receive(void* data, std::size_t bytes, int peer) = 0;
  // In place, in fp32, fp64 or bf16. Sums have the same bits on all members; the transport decides
  // the order of addition and how often a bf16 sum is rounded. Member m's shard is the m-th of
  // equal parts. reduce_scatter_sum leaves the sum in the own shard and anything in the others;
  // all_gather puts every member's shard in its place on all members.
  virtual void all_reduce_sum(const Tensor& values) = 0;
  virtual void reduce_scatter_sum(const Tensor& values) = 0;
  virtual void all_gather(const Tensor& values) = 0;

  // Nothing will be issued any more: begins to part from the other members.
  virtual void finish() = 0;
  virtual std::string failure() = 0;  // empty while all is well
  // Begins to end whatever is under way, and does not wait: that may need others to be aborted,
  // too. Nothing works afterwards. The memory of what was under way may be released: that waits
  // until nothing touches it where the end does not come at once (CudaDevice::release).
  virtual void abort() noexcept = 0;
};

struct CommunicatorOptions {
  CommunicatorId id;
  int rank = 0, size = 1;   // among the members
  int multiprocessors = 0;  // at most this many may be used; 0: the library's choice
};

}  // namespace seq1f1b::kernels

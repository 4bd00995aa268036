#pragma once
// The data plane's collectives, over tensors in device memory. A collective is started, moves while
// the device computes, and is waited for:
//
//   const auto sum = group.start_reduce_scatter_sum(bucket, what);  // reads what is issued so far
//   ...                                                             // other work
//   group.wait(sum, what);                                          // work issued now may read it
//
// In queue order (kernels/device.h), like channels: a collective runs behind everything issued on
// the main queue before its start, and everything issued after its wait runs behind the collective.
// In between nothing may touch the tensor. All members start the same collectives, with the same
// shapes and dtypes, in the same order, and a group runs them in that order. Waits may come in any
// order; one covers all that was started before its ticket.
//
// All are in place on a contiguous tensor of any shape, in fp32, fp64 or bf16. Member m's shard is
// the m-th of equal parts, in element order: the elements must divide by the members, else
// InternalError. Buckets of a flat gradient do where the layout is padded for the group.
//
// Sums have the same bits on all members. Hosts add each element in member order, bf16 in fp32,
// rounded once at the end. NCCL adds in an order of its own, and may round bf16 at every step.
//
// Where a member does not come, DeadlineError names it, as for World's waits: from wait where the
// host waits, from Fabric::wait_for where the device does; from start only where NCCL connects all
// members for a collective that is the first of its kind. The deadline counts from the wait.
//
// A group that goes waits for what is in flight, so the tensors stay until then; where an exception
// is being thrown it ends that instead. Either way nothing touches their memory afterwards. A group
// of one member sends nothing, waits for nothing and takes no memory.
#include <cstddef>
#include <cstdint>
#include <deque>

#include "core/comm/describe.h"
#include "kernels/common/tensor.h"

namespace seq1f1b::comm {

class TensorGroup {
 public:
  // The most that may be in flight, unless a group is made for more.
  static constexpr std::size_t kInFlightBytes = std::size_t{2} << 20;

  // A collective that was started; of this group.
  enum class Ticket : std::uint64_t {};

  virtual ~TensorGroup() = default;
  TensorGroup(const TensorGroup&) = delete;
  TensorGroup& operator=(const TensorGroup&) = delete;
  int rank() const { return rank_; }  // within the group
  int size() const { return size_; }
  // This member's part.
  kernels::Tensor shard(const kernels::Tensor& values) const;

  // The sum of all members' values, everywhere.
  Ticket start_all_reduce_sum(const kernels::Tensor& values, const Describe& what);
  // The sum in this member's shard; the other shards hold nothing of use afterwards.
  Ticket start_reduce_scatter_sum(const kernels::Tensor& values, const Describe& what);
  // Every member's shard, everywhere.
  Ticket start_all_gather(const kernels::Tensor& values, const Describe& what);
  void wait(Ticket ticket, const Describe& what);

  // Start and wait in one, for tensors of any length. Waits for all that is in flight first.
  void all_reduce_sum(const kernels::Tensor& values, const Describe& what);

 protected:
  enum class Kind : std::uint8_t { kAllReduceSum, kReduceScatterSum, kAllGather };
  struct Collective {
    Kind kind;
    kernels::Tensor values;
  };

  // `in_flight_bytes`: Fabric::make_group.
  TensorGroup(int rank, int size, std::size_t in_flight_bytes)
      : rank_(rank), size_(size), in_flight_bytes_(in_flight_bytes) {}

  // For groups of two members or more, and tensors that are not empty: begin a collective behind
  // those begun before; make the main queue wait for the oldest that has not been finished.
  virtual void begin(const Collective& collective, const Describe& what) = 0;
  virtual void finish_oldest(const Describe& what) = 0;
  // What all_reduce_sum takes at a time.
  virtual std::size_t longest_sum_bytes() const { return SIZE_MAX; }

  // All tensors in flight together take at most `in_flight_bytes` when each is rounded up to this.
  static constexpr std::size_t kAlignment = 64;
  static std::size_t aligned(std::size_t bytes) {
    return (bytes + kAlignment - 1) / kAlignment * kAlignment;
  }

 private:
  Ticket start(Kind kind, const kernels::Tensor& values, const Describe& what);
  Ticket start_unbounded(Kind kind, const kernels::Tensor& values, const Describe& what);

  struct InFlight {
    std::uint64_t number;
    std::size_t bytes;
  };
  const int rank_, size_;
  const std::size_t in_flight_bytes_;
  std::uint64_t started_ = 0;
  std::deque<InFlight> in_flight_;
  std::size_t bytes_in_flight_ = 0;
};

}  // namespace seq1f1b::comm

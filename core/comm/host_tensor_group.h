#pragma once
// Collectives over tensors in host memory, by messages over a transport. A thread of the group's
// own takes them one after another, sends, receives and adds up, so that they go on while the
// caller computes; it sleeps else, and never calls MPI itself.
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <span>
#include <stop_token>
#include <thread>
#include <vector>

#include "core/comm/exchange.h"
#include "core/comm/tensor_group.h"

namespace seq1f1b::comm {

class HostTensorGroup final : public TensorGroup {
 public:
  // As Exchange. The thread starts with the first collective.
  HostTensorGroup(Transport& transport, std::vector<int> members, int tag,
                  std::size_t in_flight_bytes);
  ~HostTensorGroup() override;

  // Where others' contributions to a sum arrive. Allocated once; bounds the messages of a sum of
  // any length.
  std::size_t scratch_bytes() const { return scratch_bytes_; }

 private:
  void begin(const Collective& collective, const Describe& what) override;
  void finish_oldest(const Describe& what) override;
  void wait_until_done(std::uint64_t count, const Describe& what);

  // On the thread.
  void work(const std::stop_token& stop);
  void run(const Collective& collective);
  void sum(std::span<std::byte> values);
  // One step of a collective, in one round: member m's part is replaced by the sum of what all have
  // there, or by what member m has there.
  void add_up(const Exchange::Part& part);
  void share(const Exchange::Part& part);
  void run_round();
  std::size_t longest_part() const;

  Transport& transport_;
  Exchange exchange_;
  std::size_t scratch_bytes_ = 0;
  std::unique_ptr<std::byte[]> scratch_;
  std::uint64_t begun_ = 0, finished_ = 0;  // by the caller

  std::mutex mutex_;  // guards the queue
  std::condition_variable_any queued_;
  std::deque<Collective> queue_;

  // Under the transport's lock.
  std::uint64_t done_ = 0;
  std::exception_ptr failure_;           // after which nothing is done any more
  std::span<const Transfer> waits_for_;  // what the thread sleeps for

  // The thread's own.
  kernels::Dtype dtype_ = kernels::Dtype::kF32;  // of the collective that it is at
  std::vector<const std::byte*> terms_;
  std::stop_token stop_;
  std::jthread thread_;  // last: everything else is there while it runs
};

}  // namespace seq1f1b::comm

#pragma once
// A group of ranks over a transport: every operation is a few rounds in which members exchange
// messages directly. Nothing needs a communicator of its own, every wait can name the very ranks it
// waits for, and sums are added by us, in member order, so that they do not depend on a library's
// choice of algorithm.
#include <memory>
#include <vector>

#include "core/comm/channel.h"
#include "core/comm/transport.h"

namespace seq1f1b::comm {

class ExchangeGroup final : public Group {
 public:
  // `members` are ranks of the world and contain this one; `tag` is the group's own.
  ExchangeGroup(Transport& transport, std::vector<int> members, int tag);

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(members_.size()); }
  void all_reduce_sum(std::span<double> values, const Describe& what) override;
  void all_reduce_sum(std::span<float> values, const Describe& what) override;
  void broadcast(std::span<std::byte> bytes, int root, const Describe& what) override;
  std::vector<std::string> all_gather(const std::string& mine, const Describe& what) override;
  void barrier(const Describe& what) override;
  std::unique_ptr<Watch> watch(const std::string& what) override { return transport_.watch(what); }

  // Allocated once, when the group is made; bounds the messages of a sum of any length.
  std::size_t scratch_bytes() const { return scratch_bytes_; }

 private:
  template <class Real>
  void sum(std::span<Real> values, const Describe& what);
  template <class Real>
  void sum_whole(std::span<Real> values, const Describe& what);
  template <class Real>
  void sum_by_slices(std::span<Real> values, const Describe& what);
  template <class Real>
  void add_in_member_order(std::span<Real> own, std::size_t stride);
  template <class Real>
  std::span<Real> scratch_of(int member, std::size_t stride, std::size_t count) const;

  // One round: messages are added, receives first, and run() waits for all of them.
  void receive(int member, std::span<std::byte> bytes);
  void send(int member, std::span<const std::byte> bytes);
  void run(const Describe& what);

  Transport& transport_;
  const std::vector<int> members_;
  const int tag_;
  int rank_ = -1;
  std::size_t scratch_bytes_ = 0;
  std::unique_ptr<std::byte[]> scratch_;
  std::vector<Transfer> round_;
};

}  // namespace seq1f1b::comm

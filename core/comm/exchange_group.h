#pragma once
// A control group of a host, over a transport: every operation is a few rounds of messages. Sums
// are added by us, in member order, so that they do not depend on a library's choice of algorithm.
#include "core/comm/exchange.h"
#include "core/comm/group.h"

namespace seq1f1b::comm {

class ExchangeGroup final : public Group {
 public:
  ExchangeGroup(Transport& transport, std::vector<int> members, int tag)
      : transport_(transport), exchange_(transport, std::move(members), tag) {}

  int rank() const override { return exchange_.rank(); }
  int size() const override { return exchange_.size(); }
  std::unique_ptr<Watch> watch(const std::string& what) override { return transport_.watch(what); }

 private:
  void exchange(std::span<const std::byte> mine, std::span<const std::span<std::byte>> from,
                const Describe& what) override;
  void broadcast_bytes(std::span<std::byte> bytes, int root, const Describe& what) override;
  void run(const Describe& what);

  Transport& transport_;
  Exchange exchange_;
};

}  // namespace seq1f1b::comm

#pragma once
// The group of a job with one rank: nothing to wait for, no thread, so that a test may fork.
#include <algorithm>
#include <memory>

#include "core/comm/group.h"

namespace seq1f1b::testing {

class SoloGroup final : public comm::Group {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::unique_ptr<comm::Watch> watch(const std::string&) override {
    struct Counted : comm::Watch {
      explicit Counted(int& watches) : alive(watches) { ++alive; }
      ~Counted() override { --alive; }
      void next(const std::string&) override {}
      int& alive;
    };
    return std::make_unique<Counted>(watches);
  }

  int watches = 0;  // alive
  int most_watches_when_gathering = 0;

 private:
  void exchange(std::span<const std::byte> mine, std::span<const std::span<std::byte>> from,
                const comm::Describe&) override {
    most_watches_when_gathering = std::max(most_watches_when_gathering, watches);
    std::ranges::copy(mine, from.front().begin());
  }
  void broadcast_bytes(std::span<std::byte>, int, const comm::Describe&) override {}
};

}  // namespace seq1f1b::testing

#pragma once
// The group of a job with one rank: nothing to wait for, no thread, so that a test may fork.
#include <algorithm>
#include <memory>

#include "core/comm/channel.h"

namespace seq1f1b::testing {

class SoloGroup final : public comm::Group {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void all_reduce_sum(std::span<double>, const comm::Describe&) override {}
  void all_reduce_sum(std::span<float>, const comm::Describe&) override {}
  void broadcast(std::span<std::byte>, int, const comm::Describe&) override {}
  std::vector<std::string> all_gather(const std::string& mine, const comm::Describe&) override {
    most_watches_when_gathering = std::max(most_watches_when_gathering, watches);
    return {mine};
  }
  void barrier(const comm::Describe&) override {}
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
};

}  // namespace seq1f1b::testing

#pragma once
// The group of a job with one rank: nothing to wait for, no thread, so that a test may fork.
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
    return {mine};
  }
  void barrier(const comm::Describe&) override {}
  std::unique_ptr<comm::Watch> watch(const std::string&) override {
    struct Unwatched : comm::Watch {
      void next(const std::string&) override {}
    };
    return std::make_unique<Unwatched>();
  }
};

}  // namespace seq1f1b::testing

#pragma once
// The last actions of a rank, in a mapped file that survives any kind of death of the process.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/schedule/schedule.h"

namespace seq1f1b::runtime {

enum class Phase : std::uint8_t { kWaitsToReceive, kWaitsToSend, kRuns, kDone };
const char* phase_name(Phase phase);

class ActionRing {
 public:
  static constexpr std::size_t kEntries = 256;
  struct Entry {
    std::int64_t sequence;  // from 1; 0: never written
    std::int64_t step;
    double unix_seconds;
    schedule::Action action;
    Phase phase;
  };

  // Creates or replaces the file. Throws Error when it cannot be mapped.
  explicit ActionRing(const std::string& path);
  ~ActionRing();
  ActionRing(const ActionRing&) = delete;
  ActionRing& operator=(const ActionRing&) = delete;

  void record(std::int64_t step, const schedule::Action& action, Phase phase) noexcept;

 private:
  Entry* entries_ = nullptr;
  std::int64_t sequence_ = 0;
};

// Entries of a ring file, oldest first. Throws DataError when it is not one.
std::vector<ActionRing::Entry> read_action_ring(const std::string& path);

}  // namespace seq1f1b::runtime

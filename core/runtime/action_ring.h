#pragma once
// The last actions of a rank, in a mapped file that survives any kind of death of the process. It
// also says to which start of a run the rank belongs and, once that is over, how it ended: a rank
// that says nothing was killed or crashed (last_start.h).
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "core/schedule/schedule.h"

namespace seq1f1b::runtime {

enum class Phase : std::uint8_t { kWaitsToReceive, kWaitsToSend, kRuns, kDone };
const char* phase_name(Phase phase);

enum class Ending : std::int32_t {
  kNone,      // still running, or stopped without a word
  kComplete,  // to the end
  kTold,      // by an error that stands in the rank's log
  kSignal,  // asked to end: by whoever runs the job, or by its launcher after another rank's death
};

struct RingContents;

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
  // One start of a run: equal on all of its ranks.
  struct Start {
    std::int64_t unix_nanoseconds = 0;  // of rank 0: what tells it from other starts
    std::int32_t ranks = 1;
    friend bool operator==(const Start&, const Start&) = default;
  };

  // Creates or replaces the file. Throws Error when it cannot be mapped.
  ActionRing(const std::string& path, const Start& start, int rank);
  explicit ActionRing(const std::string& path) : ActionRing(path, Start{}, 0) {}
  ~ActionRing();
  ActionRing(const ActionRing&) = delete;
  ActionRing& operator=(const ActionRing&) = delete;

  void record(std::int64_t step, const schedule::Action& action, Phase phase) noexcept;
  // The first call counts. From any thread.
  void end(Ending ending) noexcept;
  // From now on SIGTERM, SIGINT and SIGHUP write kSignal, and `farewell` to standard error where
  // that does not block, before they end the process, unless it ignores or handles them already.
  // For one ring of the process, until that goes.
  void note_signals(const std::string& farewell = "");

 private:
  struct File;
  File* file_ = nullptr;  // mapped
  std::int64_t sequence_ = 0;
  friend RingContents read_action_ring(const std::string& path);
};

struct RingContents {
  ActionRing::Start start;
  int rank = 0;
  Ending ending = Ending::kNone;
  std::vector<ActionRing::Entry> entries;  // the oldest first
};

// Throws DataError when the file cannot be read or is no ring of this version.
RingContents read_action_ring(const std::string& path);

}  // namespace seq1f1b::runtime

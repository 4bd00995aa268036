#pragma once
// What a run shows and leaves behind, checkpoints apart: one log per rank, and from rank 0 the
// lines on standard output, metrics.jsonl and small files that say what ran.
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/base/lock_file.h"
#include "core/config/config.h"
#include "core/metrics/metrics.h"

namespace seq1f1b::train {

// Everything that shows or writes a file does so on rank 0 and nothing elsewhere, but for log().
class RunDirectory {
 public:
  // Touches no file yet.
  RunDirectory(const config::Config& config, int rank);

  // Makes the run directory this job's, until the object goes, on rank 0: before anything in it is
  // touched. Checkpoints that a link leads elsewhere become so, too. Throws ConfigError where
  // another job has one of them, and DataError.
  void lock();
  // Throws DataError where somebody has taken the lock's file away meanwhile.
  void require_locked() const {
    for (const auto& lock : locks_) lock->require_held();
  }
  // Makes the folders and begins this rank's log: anew where checkpoint.resume is none, else behind
  // what is there. Throws DataError.
  void open();
  // Likewise metrics.jsonl. Apart, as a start anew that fails its checks must not empty the metrics
  // of the run before.
  void open_metrics();
  // The last step that metrics.jsonl had when it was opened; none on other ranks.
  std::optional<std::int64_t> last_step() const { return last_step_; }

  const std::string& path() const { return path_; }
  std::string logs() const { return path_ + "/logs"; }
  std::string ring_path() const;  // of this rank's last actions (runtime/action_ring.h)

  // A line in this rank's log; nothing before open(). From any thread.
  void log(const std::string& text);
  // A line for people.
  void show(const std::string& text);
  // Both of them.
  void note(const std::string& text);
  // Progress line and metrics.jsonl.
  void show(const metrics::StepMetrics& step);
  // A line of metrics.jsonl (MetricsFile::write_event).
  void event(const std::string& kind, const std::string& fields_json);
  // Replaces the file `name` in the run directory. Throws DataError.
  void write(const std::string& name, const std::string& contents);

 private:
  bool first() const { return rank_ == 0; }

  const std::string path_;
  const int rank_;
  const bool anew_;
  const std::int64_t interval_;
  std::vector<std::unique_ptr<base::LockFile>> locks_;
  std::mutex log_mutex_;
  std::unique_ptr<metrics::RankLog> log_;
  std::unique_ptr<metrics::Progress> progress_;
  std::unique_ptr<metrics::MetricsFile> metrics_;
  std::optional<std::int64_t> last_step_;
};

}  // namespace seq1f1b::train

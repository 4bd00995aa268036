#include "core/train/run_directory.h"

#include <cstdio>

#include "core/base/files.h"
#include "kernels/common/errors.h"

namespace seq1f1b::train {
namespace {

std::string rank_file(const std::string& directory, int rank, const char* ending) {
  char name[48];
  std::snprintf(name, sizeof name, "/logs/rank_%05d%s", rank, ending);
  return directory + name;
}

}  // namespace

RunDirectory::RunDirectory(const config::Config& config, int rank)
    : path_(config.checkpoint.directory),
      rank_(rank),
      anew_(config.checkpoint.resume == "none"),
      interval_(config.logging.interval) {}

void RunDirectory::lock() {
  if (!first()) return;
  base::Disk().make_directory(path_);
  lock_ = std::make_unique<base::LockFile>(path_ + "/lock", "the run directory " + path_,
                                           base::this_process());
}

void RunDirectory::open() {
  base::Disk().make_directory(path_ + "/logs");
  auto log = std::make_unique<metrics::RankLog>(rank_file(path_, rank_, ".log"), !anew_);
  {
    const std::lock_guard lock(log_mutex_);
    log_ = std::move(log);
  }
  if (first()) progress_ = std::make_unique<metrics::Progress>(interval_);
  if (lock_ && !lock_->notice().empty()) note(lock_->notice());
}

void RunDirectory::open_metrics() {
  if (!first()) return;
  const std::string path = path_ + "/metrics.jsonl";
  if (!anew_) last_step_ = metrics::last_step(path);
  metrics_ = std::make_unique<metrics::MetricsFile>(path, !anew_);
}

std::string RunDirectory::ring_path() const { return rank_file(path_, rank_, ".ring"); }

void RunDirectory::log(const std::string& text) {
  const std::lock_guard lock(log_mutex_);
  if (log_) log_->line(text);
}

void RunDirectory::show(const std::string& text) {
  if (progress_) progress_->message(text);
}

void RunDirectory::note(const std::string& text) {
  log(text);
  show(text);
}

void RunDirectory::show(const metrics::StepMetrics& step) {
  if (!first()) return;
  progress_->show(step);
  metrics_->write(step);
}

void RunDirectory::event(const std::string& kind, const std::string& fields_json) {
  if (first()) metrics_->write_event(kind, fields_json);
}

void RunDirectory::write(const std::string& name, const std::string& contents) {
  if (first()) base::atomic_write_file(concat(path_, "/", name), contents);
}

}  // namespace seq1f1b::train

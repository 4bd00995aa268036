#include "core/train/run_directory.h"

#include <cstdio>
#include <filesystem>

#include "core/base/files.h"
#include "core/checkpoint/folders.h"
#include "kernels/common/errors.h"

namespace seq1f1b::train {
namespace {

std::string rank_file(const std::string& directory, int rank, const char* ending) {
  char name[48];
  std::snprintf(name, sizeof name, "/logs/rank_%05d%s", rank, ending);
  return directory + name;
}

// Where the checkpoints really lie, if a link leads there; empty: in the run directory, or nowhere
// yet.
std::string linked_checkpoints(const std::string& run_directory) {
  namespace fs = std::filesystem;
  const std::string link = checkpoint::checkpoints_folder(run_directory);
  std::error_code none;
  return fs::is_symlink(link, none) ? fs::canonical(link, none).string() : "";
}

// A folder of that name may be another run's own, whose lock lies beside it; any other is reached
// through links alone, and has one inside.
std::string lock_of_checkpoints(const std::string& folder) {
  const std::filesystem::path path(folder);
  const std::string parent = path.parent_path().string();
  return (folder == checkpoint::checkpoints_folder(parent) ? parent : folder) + "/lock";
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
  const auto take = [&](const std::string& path, const std::string& what) {
    locks_.push_back(std::make_unique<base::LockFile>(path, what, base::this_process()));
  };
  take(path_ + "/lock", "the run directory " + path_);
  if (const std::string folder = linked_checkpoints(path_); !folder.empty())
    take(lock_of_checkpoints(folder), "the folder of checkpoints " + folder);
}

void RunDirectory::open() {
  base::Disk().make_directory(path_ + "/logs");
  auto log = std::make_unique<metrics::RankLog>(rank_file(path_, rank_, ".log"), !anew_);
  {
    const std::lock_guard lock(log_mutex_);
    log_ = std::move(log);
  }
  if (first()) progress_ = std::make_unique<metrics::Progress>(interval_);
  for (const auto& lock : locks_)
    if (!lock->notice().empty()) note(lock->notice());
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

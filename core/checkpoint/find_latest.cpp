#include <algorithm>
#include <filesystem>

#include "core/base/text.h"
#include "core/checkpoint/directory.h"
#include "core/checkpoint/folders.h"
#include "core/checkpoint/index.h"
#include "kernels/common/errors.h"

namespace seq1f1b::checkpoint {

namespace fs = std::filesystem;

namespace {

// What is wrong with a checkpoint; nothing for a complete one.
std::optional<std::string> problem_of(const StepFolder& folder) {
  try {
    open_complete(folder.path);
    return std::nullopt;
  } catch (const DataError& error) {
    return error.what();
  }
}

// Newest first. Of one step, the checkpoint before its replacement is the second choice.
std::vector<StepFolder> candidates(const std::string& folder) {
  std::vector<StepFolder> all = list_steps(folder);
  const auto replaced = list_steps(folder, kReplacedPrefix);
  all.insert(all.end(), replaced.begin(), replaced.end());
  std::stable_sort(all.begin(), all.end(),
                   [](const StepFolder& a, const StepFolder& b) { return a.step > b.step; });
  return all;
}

constexpr const char* kHowToStartAnew =
    "; to start anew, name another checkpoint.directory or set checkpoint.resume: none";

// A crash can leave COMPLETE absent or empty, never with something in it before all else is on
// disk.
bool was_complete(const std::string& path) {
  std::error_code none;
  const auto bytes = std::filesystem::file_size(path + "/COMPLETE", none);
  return !none && bytes > 0;
}

// Of a complete checkpoint.
std::optional<std::int64_t> course_of(const std::string& path) {
  try {
    return open_complete(path).state.course;
  } catch (const DataError&) {
    return std::nullopt;
  }
}

bool is_permanent(std::int64_t step, std::int64_t keep_every) {
  return keep_every > 0 && step % keep_every == 0;
}

// Or what cannot be inspected: both are left alone.
bool is_link(const std::string& path) {
  std::error_code unknown;
  return std::filesystem::is_symlink(path, unknown) || unknown;
}

// How to go on without a damaged checkpoint.
std::string way_out(const std::vector<StepFolder>& all, const StepFolder& damaged) {
  for (const StepFolder& older : all)
    if (older.step < damaged.step && !problem_of(older))
      return concat("; to go on from the one before, set checkpoint.resume: ", older.path);
  return kHowToStartAnew;
}

// A save writes the marker before its retention removes anything, so of a checkpoint that is gone
// only a marker read before can speak. Each further look needs another save in the moment of one.
constexpr int kMostLooks = 20;

// The choice that follows from a marker read before. `gone` is set where the marker or the listing
// names a checkpoint that is not there any more.
std::optional<std::string> choose(const std::string& folder,
                                  const std::optional<std::int64_t>& marker, std::string& notice,
                                  bool& gone) {
  const std::string marker_path = folder + "/" + kMarker;
  const bool marker_exists = base::exists(marker_path);
  const auto all = candidates(folder);
  if (all.empty() && !marker_exists) return std::nullopt;

  std::vector<std::string> notes;  // why something newer is passed over
  if (!marker)
    notes.push_back(concat(marker_path, marker_exists ? " names no checkpoint" : " is missing"));
  else if (std::none_of(all.begin(), all.end(),
                        [&](const StepFolder& candidate) { return candidate.step == *marker; })) {
    notes.push_back(concat(marker_path, " names ", step_name(*marker), ", which is not there"));
    gone = true;
  }
  bool fell_back = !notes.empty();
  for (const StepFolder& candidate : all) {
    const auto problem = problem_of(candidate);
    if (problem && !base::exists(candidate.path)) gone = true;
    const bool passed_over = marker && candidate.step > *marker;
    if (passed_over) {
      if (!problem)
        notes.push_back(concat(candidate.path, " is complete but newer than what ", marker_path,
                               " names: to use it, set checkpoint.resume to its path"));
    } else if (problem && was_complete(candidate.path)) {
      // Once whole and now altered: the disk or somebody damages files. Going on from an older one
      // is a decision for a person.
      throw DataError(concat(*problem, way_out(all, candidate)));
    } else if (problem) {
      notes.push_back(*problem);
      fell_back = true;
    } else {
      if (!notes.empty())
        notice = concat(base::join(notes, "; "),
                        fell_back ? "; falling back to " : "; going on from ", candidate.path);
      return candidate.path;
    }
  }
  throw DataError(
      concat("no usable checkpoint in ", folder, ": ", base::join(notes, "; "), kHowToStartAnew));
}

}  // namespace

std::optional<std::string> find_latest(const std::string& run_directory, std::string* notice) {
  const std::string folder = checkpoints_folder(run_directory);
  for (int looks = 1;; ++looks) {
    const auto marker = read_marker(folder);
    bool gone = false;
    const auto was_overtaken = [&] {
      return gone && looks < kMostLooks && read_marker(folder) != marker;
    };
    std::string text;
    try {
      const auto chosen = choose(folder, marker, text, gone);
      if (was_overtaken()) continue;
      if (notice != nullptr && !text.empty()) *notice = text;
      return chosen;
    } catch (const DataError&) {
      if (!was_overtaken()) throw;
    }
  }
}

bool use_latest(const std::string& run_directory,
                const std::function<void(const std::string& notice)>& notice,
                const std::function<void(const std::string& path)>& use) {
  for (;;) {
    std::string text;
    const auto latest = find_latest(run_directory, &text);
    if (!text.empty()) notice(text);
    if (!latest) return false;
    try {
      use(*latest);
      return true;
    } catch (const DataError&) {
      if (base::exists(*latest)) throw;
      notice(concat(*latest, " was removed meanwhile; looking for the newest again"));
    }
  }
}

std::int64_t next_course(const std::string& run_directory) {
  std::int64_t next = 0;
  for (const StepFolder& folder : list_steps(checkpoints_folder(run_directory)))
    if (const auto course = course_of(folder.path)) next = std::max(next, *course + 1);
  return next;
}

std::int64_t count_course(const std::string& run_directory, std::int64_t course) {
  return std::ranges::count_if(
      list_steps(checkpoints_folder(run_directory)),
      [&](const StepFolder& folder) { return course_of(folder.path) == course; });
}

std::int64_t count_removable(const std::string& run_directory, std::int64_t course,
                             std::int64_t step, std::int64_t keep_every) {
  return std::ranges::count_if(
      list_steps(checkpoints_folder(run_directory)), [&](const StepFolder& folder) {
        return folder.step <= step && !is_permanent(folder.step, keep_every) &&
               !is_link(folder.path) && course_of(folder.path) == course;
      });
}

void apply_retention(const std::string& run_directory, int keep_last, std::int64_t keep_every,
                     const base::Disk& disk) {
  if (keep_last <= 0) return;
  const std::string folder = checkpoints_folder(run_directory);
  const auto marker = read_marker(folder);
  const auto course = marker ? course_of(folder + "/" + step_name(*marker)) : 0;
  int before = 0, beyond = 0;  // seen up to the marker's step, and after it
  for (const StepFolder& candidate : list_steps(folder)) {
    const bool permanent = is_permanent(candidate.step, keep_every);
    if (is_link(candidate.path)) continue;
    const auto its_course = course_of(candidate.path);
    if (!its_course || its_course != course) continue;
    // What lies beyond the marker was left behind by going on from an older one: it must not take
    // the places of what is saved now.
    int& newer = marker && candidate.step > *marker ? beyond : before;
    const bool keep = newer++ < keep_last || permanent || candidate.step == marker;
    if (keep) continue;
    try {
      remove_step(candidate, disk);
    } catch (
        const DataError&) {  // a full or read-only corner must not end a run that has just saved
    }
  }
}

}  // namespace seq1f1b::checkpoint

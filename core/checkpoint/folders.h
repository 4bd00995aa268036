#pragma once
// The names inside RUN/checkpoints/ and what lies there.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/base/files.h"

namespace seq1f1b::checkpoint {

inline constexpr const char* kMarker = "latest";
// A checkpoint being written or removed: never looked at, cleared away by the next save.
inline constexpr const char* kTemporaryPrefix = ".tmp-";
// A complete checkpoint being replaced by another of the same step. It counts until that one is
// complete. Two renames with this name in between need no exchange of folders, which network file
// systems lack.
inline constexpr const char* kReplacedPrefix = ".old-";

std::string step_name(std::int64_t step);  // "step_00000500"

// The step when `name` is exactly what step_name gives, else nothing: "step_500" and
// "step_00000500.backup" are somebody else's.
std::optional<std::int64_t> parse_step_name(const std::string& name);

std::string checkpoints_folder(const std::string& run_directory);

struct StepFolder {
  std::int64_t step = 0;
  std::string path;
};
// Folders named `prefix` + step_name, newest first; links to folders count. Empty when `folder`
// does not exist.
std::vector<StepFolder> list_steps(const std::string& folder, const std::string& prefix = "");

// The step that the marker names; nothing when it is missing or names none.
std::optional<std::int64_t> read_marker(const std::string& folder);

// Removes a checkpoint so that it vanishes from the list in one step, then from the disk.
void remove_step(const StepFolder& folder, const base::Disk& disk);

// Undoes and clears away what interrupted saves and removals have left.
void recover(const std::string& folder, const base::Disk& disk);

}  // namespace seq1f1b::checkpoint

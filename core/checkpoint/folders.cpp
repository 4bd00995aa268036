#include "core/checkpoint/folders.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cinttypes>
#include <cstdio>
#include <filesystem>

#include "core/checkpoint/index.h"
#include "kernels/common/errors.h"

namespace seq1f1b::checkpoint {

namespace fs = std::filesystem;

std::string step_name(std::int64_t step) {
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "step_%08" PRId64, step);
  return text.data();
}

std::optional<std::int64_t> parse_step_name(const std::string& name) {
  constexpr std::string_view kPrefix = "step_";
  if (!name.starts_with(kPrefix)) return std::nullopt;
  std::int64_t step = -1;
  std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), step);
  // Writing the number again tells every other spelling apart.
  if (step < 0 || step_name(step) != name) return std::nullopt;
  return step;
}

std::string checkpoints_folder(const std::string& run_directory) {
  return run_directory + "/checkpoints";
}

std::vector<StepFolder> list_steps(const std::string& folder, const std::string& prefix) {
  std::vector<StepFolder> folders;
  if (!base::exists(folder)) return folders;
  std::error_code why;
  fs::directory_iterator entry(folder, why);
  for (; !why && entry != fs::directory_iterator(); entry.increment(why)) {
    const std::string name = entry->path().filename().string();
    std::error_code ignored;  // an entry that cannot be inspected is no checkpoint
    if (!name.starts_with(prefix) || !entry->is_directory(ignored)) continue;
    if (const auto step = parse_step_name(name.substr(prefix.size())))
      folders.push_back({*step, folder + "/" + name});
  }
  if (why) throw DataError(concat("cannot list ", folder, ": ", why.message()));
  std::sort(folders.begin(), folders.end(),
            [](const StepFolder& a, const StepFolder& b) { return a.step > b.step; });
  return folders;
}

std::optional<std::int64_t> read_marker(const std::string& folder) {
  try {
    std::string name = base::read_file(folder + "/" + kMarker);
    if (name.ends_with('\n')) name.pop_back();
    return parse_step_name(name);
  } catch (const DataError&) {  // missing, or not readable: the callers treat both alike
    return std::nullopt;
  }
}

void remove_step(const StepFolder& folder, const base::Disk& disk) {
  const std::string parent = fs::path(folder.path).parent_path().string();
  const std::string temporary = parent + "/" + kTemporaryPrefix + step_name(folder.step);
  disk.remove_tree(temporary);
  disk.rename(folder.path, temporary);
  disk.sync_directory(parent);
  disk.remove_tree(temporary);
}

void recover(const std::string& folder, const base::Disk& disk) {
  for (const StepFolder& temporary : list_steps(folder, kTemporaryPrefix))
    disk.remove_tree(temporary.path);
  for (const StepFolder& replaced : list_steps(folder, kReplacedPrefix)) {
    const std::string path = folder + "/" + step_name(replaced.step);
    if (is_complete(path)) {
      disk.remove_tree(replaced.path);
    } else {
      disk.remove_tree(path);
      disk.rename(replaced.path, path);
      disk.sync_directory(folder);
    }
  }
}

}  // namespace seq1f1b::checkpoint

#include "core/data/publication.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/data/prefix_lock.h"
#include "core/data/tokenizer_json.h"
#include "kernels/common/errors.h"

namespace seq1f1b::data {
namespace {

namespace fs = std::filesystem;

constexpr std::array<const char*, 2> kTokens{".bin", ".idx"};

bool is_there(const std::string& path) {
  std::error_code unknown;  // then it is not there for us either
  return fs::exists(fs::symlink_status(path, unknown));
}

// What a mark says of the replacement that is under way.
struct Mark {
  std::string old_name, new_name;  // of the old and the new files in the prefix's folder, no ending
  std::vector<std::string> had;    // endings of the old files
};

std::string mark_text(const Mark& mark) {
  nlohmann::ordered_json json = pending_header();
  json["old"] = mark.old_name;
  json["new"] = mark.new_name;
  json["had"] = mark.had;
  return json.dump(1) + "\n";
}

class Replacement {
 public:
  Replacement(const base::Disk& disk, const std::string& prefix)
      : disk_(disk),
        prefix_(prefix),
        folder_(fs::path(prefix).parent_path()),
        name_(fs::path(prefix).filename().string()) {}

  // Puts back what a killed process was replacing, and removes what it has left. Nobody else is at
  // it.
  void recover() const {
    const std::string tokenizer = tokenizer_path(prefix_);
    if (is_there(tokenizer)) {
      const auto json = nlohmann::json::parse(base::read_file(tokenizer), nullptr, false);
      if (json.is_object() && json.value("kind", "") == kPendingKind) {
        const Mark mark{json.value("old", ""), json.value("new", ""),
                        json.value("had", std::vector<std::string>())};
        if (is_ours(mark.old_name) && is_ours(mark.new_name)) {  // not of a set that was renamed
          roll_back(mark);
          remove(mark.new_name);
        }
      }
    }
    std::error_code missing;
    std::vector<std::string> leftovers;
    for (const auto& file : fs::directory_iterator(folder(), missing))
      if (file.path().filename().string().starts_with(name_ + ".old."))
        leftovers.push_back(file.path());
    for (const std::string& path : leftovers) disk_.remove_tree(path);
  }

  void run(const std::string& from, bool has_tokenizer) const {
    const Mark mark = prepare_mark(from);
    const std::string tokenizer = tokenizer_path(prefix_), old = beside(mark.old_name);
    try {
      disk_.rename(from + kMarkEnding, tokenizer);
      sync();
      for (const std::string& ending : mark.had)
        if (ending != kTokenizerEnding) disk_.rename(prefix_ + ending, old + ending);
      for (const char* ending : kTokens) disk_.rename(from + ending, prefix_ + ending);
      sync();
      if (has_tokenizer)
        disk_.rename(from + kTokenizerEnding, tokenizer);
      else
        disk_.remove_tree(tokenizer);
    } catch (const std::exception& error) {
      give_up(mark, error.what());
    }
    sync();
    remove(mark.old_name);
  }

 private:
  std::string folder() const { return folder_.empty() ? "." : folder_.string(); }
  std::string beside(const std::string& name) const { return (folder_ / name).string(); }
  void sync() const { disk_.sync_directory(folder()); }
  bool is_ours(const std::string& name) const {
    return name.starts_with(name_ + ".") && name.find('/') == std::string::npos;
  }
  void remove(const std::string& name) const {
    for (const char* ending : {".bin", ".idx", kTokenizerEnding, kMarkEnding})
      disk_.remove_tree(beside(name) + ending);
  }

  // Writes the mark and a copy of the old tokenizer file, whose place it takes. Nothing has changed
  // yet when this fails.
  Mark prepare_mark(const std::string& from) const {
    Mark mark;
    mark.new_name = fs::path(from).filename().string();
    mark.old_name = name_ + ".old" + mark.new_name.substr(name_.size());
    for (const char* ending : {".bin", ".idx", kTokenizerEnding})
      if (is_there(prefix_ + ending)) mark.had.emplace_back(ending);
    try {
      const std::string tokenizer = tokenizer_path(prefix_);
      if (is_there(tokenizer))
        disk_.write_file(beside(mark.old_name) + kTokenizerEnding, base::read_file(tokenizer));
      disk_.write_file(from + kMarkEnding, mark_text(mark));
      sync();
    } catch (...) {
      remove(mark.old_name);
      throw;
    }
    return mark;
  }

  // Where it is cut short, or was, it can be run again: what is not under its old name has not been
  // moved, or is back.
  void roll_back(const Mark& mark) const {
    const auto had = [&](const char* ending) {
      return std::ranges::find(mark.had, ending) != mark.had.end();
    };
    const auto put_back = [&](const char* ending) {
      const std::string old = beside(mark.old_name) + ending;
      if (!had(ending))
        disk_.remove_tree(prefix_ + ending);
      else if (is_there(old))
        disk_.rename(old, prefix_ + ending);
    };
    for (const char* ending : kTokens) put_back(ending);
    sync();
    put_back(kTokenizerEnding);
    sync();
  }

  [[noreturn]] void give_up(const Mark& mark, const std::string& why) const {
    try {
      roll_back(mark);
    } catch (const std::exception& error) {
      throw DataError(concat(why, "; the files before could not be put back either (", error.what(),
                             "): look for ", beside(mark.old_name), ".*"));
    }
    throw DataError(why);
  }

  const base::Disk& disk_;
  const std::string prefix_;
  const fs::path folder_;
  const std::string name_;
};

}  // namespace

void require_replaceable(const std::string& prefix) {
  for (const char* ending : {".bin", ".idx", kTokenizerEnding}) {
    std::error_code unknown;
    const auto status = fs::symlink_status(prefix + ending, unknown);
    if (fs::exists(status) && status.type() != fs::file_type::regular)
      throw DataError(concat(
          prefix, ending, " is a ", fs::is_symlink(status) ? "link" : "folder, pipe or device",
          " and no file: it is not replaced; remove it, or name another prefix"));
  }
}

void publish(const base::Disk& disk, const std::string& from, const std::string& prefix,
             bool has_tokenizer) {
  const PrefixLock lock(prefix + ".lock");
  require_replaceable(prefix);
  const Replacement replacement(disk, prefix);
  if (lock.held()) replacement.recover();
  replacement.run(from, has_tokenizer);
}

}  // namespace seq1f1b::data

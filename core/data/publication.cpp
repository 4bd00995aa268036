#include "core/data/publication.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <random>
#include <regex>
#include <set>
#include <vector>

#include "core/data/prefix_lock.h"
#include "core/data/tokenizer_json.h"
#include "kernels/common/errors.h"

namespace seq1f1b::data {
namespace {

namespace fs = std::filesystem;

constexpr std::array<const char*, 2> kTokens{".bin", ".idx"};
// Of all that is ever written under other names.
constexpr std::array<const char*, 4> kEndings{".bin", ".idx", kTokenizerEnding, kMarkEnding};

// Digits, a point, hex digits: what makes a name nobody else's.
const std::regex& own_part() {
  static const std::regex pattern(R"(\.tmp\.[0-9]+\.[0-9a-f]+)");
  return pattern;
}

// Whether another process is writing the file: it has a lock on it as long as it lives.
bool is_being_written(const std::string& path) {
  const base::Descriptor file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!file) return errno != ENOENT;
  return ::flock(file.get(), LOCK_EX | LOCK_NB) != 0;
}

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
    undo_mark();
    for (const std::string& name : own_names(".old")) remove(name);
  }

  // Removes the files of processes that were killed while they wrote them.
  void clear_abandoned() const {
    for (const std::string& name : own_names(""))
      if (!is_being_written(beside(name) + ".bin")) remove(name);
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
    try {
      sync();
    } catch (const DataError& error) {
      throw DataError(concat(error.what(), "; the new files of ", prefix_,
                             " stand, but may not survive a power loss"));
    }
    try {
      remove(mark.old_name);
    } catch (const DataError&) {  // the next one tries again
    }
  }

 private:
  void undo_mark() const {
    const std::string tokenizer = tokenizer_path(prefix_);
    if (is_there(tokenizer)) {
      const auto json = nlohmann::json::parse(base::read_file(tokenizer), nullptr, false);
      if (json.is_object() && json.value("kind", "") == kPendingKind) {
        const Mark mark{json.value("old", ""), json.value("new", ""),
                        json.value("had", std::vector<std::string>())};
        // Not of a set that was renamed.
        if (is_own(mark.old_name, ".old") && is_own(mark.new_name, "")) {
          roll_back(mark);
          remove(mark.new_name);
        }
      }
    }
  }

  // The names of a kind in the folder, without endings: ".old" for old files, "" for those being
  // written. Nobody calls a file of theirs so.
  std::set<std::string> own_names(const std::string& kind) const {
    std::error_code missing;
    std::set<std::string> names;
    for (const auto& file : fs::directory_iterator(folder(), missing)) {
      const std::string name = file.path().filename().string();
      for (const char* ending : kEndings)
        if (name.ends_with(ending) &&
            is_own(name.substr(0, name.size() - std::strlen(ending)), kind))
          names.insert(name.substr(0, name.size() - std::strlen(ending)));
    }
    return names;
  }

  std::string folder() const { return folder_.empty() ? "." : folder_.string(); }
  std::string beside(const std::string& name) const { return (folder_ / name).string(); }
  void sync() const { disk_.sync_directory(folder()); }
  bool is_own(const std::string& name, const std::string& kind) const {
    const std::string begin = name_ + kind;
    return name.starts_with(begin) && std::regex_match(name.substr(begin.size()), own_part());
  }
  void remove(const std::string& name) const {
    for (const char* ending : kEndings) disk_.remove_tree(beside(name) + ending);
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

// Throws DataError where something other than a file has a name of the set.
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

}  // namespace

Draft::Draft(const base::Disk& disk, const std::string& prefix) {
  require_replaceable(prefix);
  const PrefixLock lock(prefix);
  if (lock.held()) Replacement(disk, prefix).clear_abandoned();
  // Other machines have the same process ids.
  name_ = concat(prefix, ".tmp.", ::getpid(), ".", std::hex, std::random_device{}(),
                 std::random_device{}());
  content_.emplace(disk, name_ + ".bin");
  // In nobody's way, but for whoever looks for abandoned files.
  in_use_ = base::Descriptor(::open((name_ + ".bin").c_str(), O_RDWR | O_CLOEXEC));
  if (in_use_) ::flock(in_use_.get(), LOCK_EX | LOCK_NB);
}

Draft::~Draft() {
  for (const char* ending : kEndings) {
    std::error_code ignored;  // nothing to be done about it here
    fs::remove(name_ + ending, ignored);
  }
}

void publish(const base::Disk& disk, const std::string& from, const std::string& prefix,
             bool has_tokenizer) {
  const PrefixLock lock(prefix);
  require_replaceable(prefix);
  const Replacement replacement(disk, prefix);
  if (lock.held()) replacement.recover();
  replacement.run(from, has_tokenizer);
}

}  // namespace seq1f1b::data

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
#include <optional>
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

// Old files are PREFIX.tmp.PROCESS.HEX.old. The kind comes last: the name of a draft ends in hex
// digits, which "old" is not, so no prefix has a draft of such a name. In front, it would make the
// old files of X the drafts of a prefix X.old, which has another lock.
constexpr const char* kOldKind = ".old";

// Whether another process is writing the file: it has a lock on it as long as it lives.
bool is_being_written(const std::string& path) {
  const base::Descriptor file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (!file) return errno != ENOENT;
  return ::flock(file.get(), LOCK_EX | LOCK_NB) != 0;
}

// Of a link itself. What cannot be inspected is not taken for missing: that would lose old files.
fs::file_status status_of(const std::string& path) {
  std::error_code why;
  const fs::file_status status = fs::symlink_status(path, why);
  if (status.type() == fs::file_type::none)
    throw DataError(concat("cannot inspect ", path, ": ", why.message()));
  return status;
}

bool is_there(const std::string& path) { return fs::exists(status_of(path)); }

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

// Nothing where the text is something else, or a field is none that a mark has.
std::optional<Mark> parse_mark(const std::string& text) {
  const auto json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  const auto text_in = [](const nlohmann::json& field) {
    return field.is_string() ? field.get<std::string>() : std::string();
  };
  const auto field = [&](const char* name) {
    const auto found = json.find(name);
    return found == json.end() ? nlohmann::json() : *found;
  };
  const nlohmann::json had = field("had");
  if (text_in(field("kind")) != kPendingKind || !had.is_array()) return std::nullopt;
  Mark mark{.old_name = text_in(field("old")), .new_name = text_in(field("new")), .had = {}};
  for (const nlohmann::json& ending : had) {
    if (!ending.is_string() ||
        std::ranges::find(kEndings, ending.get<std::string>()) == kEndings.end())
      return std::nullopt;
    mark.had.push_back(ending.get<std::string>());
  }
  return mark;
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
    for (const std::string& name : own_names(kOldKind)) remove(name);
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
    if (!is_there(tokenizer)) return;
    const std::optional<Mark> mark = parse_mark(base::read_file(tokenizer));
    // Not of a set that was renamed.
    if (!mark || !is_own(mark->old_name, kOldKind) || !is_own(mark->new_name, "")) return;
    roll_back(*mark);
    remove(mark->new_name);
  }

  // The names of a kind in the folder, without endings: kOldKind for old files, "" for those being
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
    if (!name.starts_with(name_) || !name.substr(name_.size()).ends_with(kind)) return false;
    const std::size_t length = name.size() - name_.size() - kind.size();
    return std::regex_match(name.substr(name_.size(), length), own_part());
  }
  void remove(const std::string& name) const {
    for (const char* ending : kEndings) disk_.remove_tree(beside(name) + ending);
  }

  // Writes the mark and a copy of the old tokenizer file, whose place it takes. Nothing has changed
  // yet when this fails.
  Mark prepare_mark(const std::string& from) const {
    Mark mark;
    mark.new_name = fs::path(from).filename().string();
    mark.old_name = mark.new_name + kOldKind;
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
  // moved, or is back. Where it is at neither place it is lost, and nothing is touched.
  void roll_back(const Mark& mark) const {
    const auto had = [&](const char* ending) {
      return std::ranges::find(mark.had, ending) != mark.had.end();
    };
    for (const std::string& ending : mark.had) require_restorable(mark, ending);
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

  void require_restorable(const Mark& mark, const std::string& ending) const {
    const std::string now = prefix_ + ending, old = beside(mark.old_name) + ending;
    // At its own place the old tokenizer file has been replaced by the mark.
    if (is_there(old) || (ending != kTokenizerEnding && is_there(now))) return;
    throw DataError(concat(
        "cannot put back ", now, ", which an interrupted preparation replaced: ", old,
        " is missing; restore it, or give the old files up by removing ", tokenizer_path(prefix_)));
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
    const fs::file_status status = status_of(prefix + ending);
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

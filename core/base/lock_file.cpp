#include "core/base/lock_file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <sstream>
#include <system_error>
#include <thread>

#include "core/base/clock.h"
#include "core/base/files.h"
#include "kernels/common/errors.h"

namespace seq1f1b::base {
namespace {

// The holder writes its name just after it has taken the lock; until then the file is empty, or
// names one that is gone.
constexpr int kNameTries = 20;
constexpr std::chrono::milliseconds kNamePause{10};

std::string text_of(const Holder& holder) {
  return concat("host ", holder.host, "\npid ", holder.pid, "\nstart ", holder.start, "\njob ",
                holder.job, "\n");
}

int set_lock(int file, short type) {
  struct flock whole {};
  whole.l_type = type;
  whole.l_whence = SEEK_SET;
  return ::fcntl(file, F_OFD_SETLK, &whole) == 0 ? 0 : errno;
}

// What a lock's file says at one moment.
struct Written {
  Holder holder;         // without a pid where it names none
  bool foreign = false;  // something else is written there
};

Written read_holder(int file) {
  std::array<char, 1024> bytes{};
  const ssize_t count = ::pread(file, bytes.data(), bytes.size(), 0);
  std::istringstream lines(std::string(bytes.data(), count > 0 ? std::size_t(count) : 0));
  Holder holder;
  for (std::string line; std::getline(lines, line);) {
    const std::size_t space = line.find(' ');
    if (space == std::string::npos) continue;
    const std::string key = line.substr(0, space), value = line.substr(space + 1);
    if (key == "host") holder.host = value;
    if (key == "pid") holder.pid = std::strtol(value.c_str(), nullptr, 10);
    if (key == "start") holder.start = value;
    if (key == "job") holder.job = value;
  }
  return {.holder = holder, .foreign = count > 0 && holder.pid == 0};
}

void write_holder(int file, const std::string& path, const std::string& text) {
  const bool written = ::ftruncate(file, 0) == 0 && ::pwrite(file, text.data(), text.size(), 0) ==
                                                        static_cast<ssize_t>(text.size());
  if (!written) throw_file_error("cannot write", path);
}

bool runs(const Holder& holder) {
  return ::kill(static_cast<pid_t>(holder.pid), 0) == 0 || errno == EPERM;
}

[[noreturn]] void refuse(const std::string& what, const std::string& user) {
  throw ConfigError(concat(
      what, " is in use by ", user,
      ": two jobs in one would destroy each other's work. Wait for it, end it, or name another "
      "one; removing the lock's file does not help"));
}

struct stat status_of(int file, const std::string& path) {
  struct stat status {};
  if (::fstat(file, &status) != 0) throw_file_error("cannot inspect", path);
  return status;
}

// What lies there is emptied in the end: only files that this program has made.
void require_ours(bool ours, const std::string& path) {
  if (ours) return;
  throw DataError(concat(path, " is no lock of this program's, whose file has this name: move it"));
}

// Somebody else holds the lock of the open file. Whoever has no name there has just begun, or is
// ending and about to give the lock back: then this takes it. Returns what `lock` said at last, if
// not that somebody has it; throws otherwise.
int wait_for_name(int file, const std::string& path, const std::string& what,
                  const std::string& host, const LockFile::Lock& lock) {
  const auto is_gone = [&](const Holder& holder) { return holder.host == host && !runs(holder); };
  Written there = read_holder(file);
  for (int tries = 0; (there.holder.pid == 0 || is_gone(there.holder)) && tries < kNameTries;
       ++tries) {
    std::this_thread::sleep_for(kNamePause);
    if (const int refusal = lock(file); refusal != EAGAIN) return refusal;
    there = read_holder(file);
  }
  require_ours(!there.foreign, path);
  if (there.holder.pid == 0) refuse(what, "another job, which has just begun");
  if (is_gone(there.holder))
    refuse(what, concat("another job, whose name is not known (the last one, ",
                        describe(there.holder), ", is gone)"));
  refuse(what, describe(there.holder));
}

}  // namespace

Holder this_process() {
  Holder holder;
  std::array<char, 256> host{};
  ::gethostname(host.data(), host.size() - 1);
  holder.host = host.data();
  holder.pid = ::getpid();
  holder.start = utc_text();
  for (const char* name : {"SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID"})
    if (const char* job = std::getenv(name); job && holder.job.empty()) holder.job = job;
  return holder;
}

std::string describe(const Holder& holder) {
  return concat("process ", holder.pid, " on ", holder.host,
                holder.job.empty() ? "" : concat(" (job ", holder.job, ")"), ", started ",
                holder.start);
}

int LockFile::lock_description(int file) {
  const int error = set_lock(file, F_WRLCK);
  return error == EACCES ? EAGAIN : error;
}

LockFile::LockFile(const std::string& path, const std::string& what, const Holder& holder,
                   const Lock& lock)
    : path_(path),
      what_(what),
      file_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666)) {
  if (!file_) throw_file_error("cannot open", path);
  int refusal = lock(file_.get());
  require_ours(S_ISREG(status_of(file_.get(), path).st_mode), path);
  // The destructor does not run after a refusal: the holder's file stays as it is.
  if (refusal == EAGAIN) refusal = wait_for_name(file_.get(), path, what, holder.host, lock);
  const auto [last, foreign] = read_holder(file_.get());
  require_ours(!foreign, path);
  const bool here = last.pid > 0 && last.host == holder.host;
  if (refusal != 0) {
    const bool other = last.pid > 0 && !(here && last.pid == holder.pid);
    if (other && here && runs(last)) refuse(what, describe(last));
    notice_ =
        concat("the file system of ", what, " has no locks (",
               std::generic_category().message(refusal), "): nobody notices another job in it");
    if (other && !here)
      notice_ += concat("; the last one, ", describe(last), ", did not say that it has ended");
  } else if (last.pid > 0) {
    notice_ = concat(what, " is taken over: ", describe(last), ", is gone without giving it back");
  }
  write_holder(file_.get(), path, text_of(holder));
}

void LockFile::require_held() const {
  const struct stat held = status_of(file_.get(), path_);
  struct stat there {};
  if (::lstat(path_.c_str(), &there) == 0 && there.st_dev == held.st_dev &&
      there.st_ino == held.st_ino)
    return;
  throw DataError(concat(
      path_, " was removed or replaced while this process held it: another job may use ", what_));
}

LockFile::~LockFile() {
  if (!file_) return;
  // Where the file cannot be emptied the next one takes the lock over. A child of this process may
  // have the description, too.
  if (::ftruncate(file_.get(), 0) == 0) set_lock(file_.get(), F_UNLCK);
}

}  // namespace seq1f1b::base

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

// The holder writes its name just after it has taken the lock.
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

// Of a file that holds none: without a pid.
Holder read_holder(int file) {
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
  return holder;
}

void write_holder(int file, const std::string& path, const std::string& text) {
  const bool written = ::ftruncate(file, 0) == 0 && ::pwrite(file, text.data(), text.size(), 0) ==
                                                        static_cast<ssize_t>(text.size());
  if (!written) throw_file_error("cannot write", path);
}

bool runs(const Holder& holder) {
  return ::kill(static_cast<pid_t>(holder.pid), 0) == 0 || errno == EPERM;
}

[[noreturn]] void refuse(const std::string& what, const Holder& holder) {
  throw ConfigError(concat(
      what, " is in use by ",
      holder.pid > 0 ? describe(holder) : std::string("another job, which has just begun"),
      ": two jobs in one would destroy each other's work. Wait for it, end it, or name another "
      "one; removing the lock's file does not help"));
}

struct stat status_of(int file, const std::string& path) {
  struct stat status {};
  if (::fstat(file, &status) != 0) throw_file_error("cannot inspect", path);
  return status;
}

// What lies there is emptied in the end: only files that this program has made.
void require_ours(int file, const std::string& path, const Holder& last) {
  const struct stat status = status_of(file, path);
  if (!S_ISREG(status.st_mode) || (status.st_size > 0 && last.pid == 0))
    throw DataError(
        concat(path, " is no lock of this program's, whose file has this name: move it"));
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
  const int refusal = lock(file_.get());
  Holder last = read_holder(file_.get());
  require_ours(file_.get(), path, last);
  if (refusal == EAGAIN) {
    for (int tries = 0; last.pid == 0 && tries < kNameTries; ++tries) {
      std::this_thread::sleep_for(kNamePause);
      last = read_holder(file_.get());
    }
    file_.close();
    refuse(what, last);
  }
  const bool here = last.pid > 0 && last.host == holder.host;
  if (refusal != 0) {
    const bool other = last.pid > 0 && !(here && last.pid == holder.pid);
    if (other && here && runs(last)) {
      file_.close();
      refuse(what, last);
    }
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

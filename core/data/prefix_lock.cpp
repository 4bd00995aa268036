#include "core/data/prefix_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <thread>

#include "core/base/clock.h"
#include "core/base/files.h"
#include "kernels/common/errors.h"

namespace seq1f1b::data {
namespace {

// Whoever had the lock removes the file before others get it, so a lock may be on no file at all.
bool is_at(int file, const std::string& path) {
  struct stat mine {
  }, there{};
  return ::fstat(file, &mine) == 0 && ::lstat(path.c_str(), &there) == 0 &&
         mine.st_ino == there.st_ino && mine.st_dev == there.st_dev;
}

base::Descriptor open_lock(const std::string& path) {
  base::Descriptor file(
      ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666));
  if (!file && errno != ELOOP) base::throw_file_error("cannot create", path);
  // It is removed in the end: only what this program has made.
  struct stat status {};
  if (!file || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode) || status.st_size > 0)
    throw DataError(
        concat(path, " is no lock of this program's, whose file has this name: move it"));
  return file;
}

}  // namespace

PrefixLock::PrefixLock(const std::string& prefix, double patience_seconds)
    : path_(prefix + ".seq1f1b.lock") {
  const double end = base::monotonic_seconds() + patience_seconds;
  for (;;) {
    file_ = open_lock(path_);
    if (::flock(file_.get(), LOCK_EX | LOCK_NB) == 0) {
      if (!is_at(file_.get(), path_)) continue;
      held_ = true;
      return;
    }
    if (errno != EWOULDBLOCK && errno != EINTR) return;  // no locks here
    if (base::monotonic_seconds() > end)
      throw DataError(concat(path_, ": another process has held this lock for ", patience_seconds,
                             " s; is a preparation of the same files hanging?"));
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

PrefixLock::~PrefixLock() {
  if (held_ && is_at(file_.get(), path_)) ::unlink(path_.c_str());
}

}  // namespace seq1f1b::data

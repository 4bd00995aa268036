#pragma once
// A file that says who uses something, locked for as long as they do. The system gives the lock
// back when its holder dies, however; what is written in the file then stays, and tells the next
// one.
#include <functional>
#include <string>

#include "core/base/descriptor.h"

namespace seq1f1b::base {

// Who holds a lock, for people.
struct Holder {
  std::string host;
  long pid = 0;
  std::string start;  // UTC
  std::string job;    // the batch system's number; may be empty
};
Holder this_process();
std::string describe(const Holder& holder);  // "process 41 on node7 (job 1234), started 2026-..."

class LockFile {
 public:
  // Takes the lock of an open file: 0, or errno; EAGAIN where somebody else holds it.
  using Lock = std::function<int(int file)>;
  // Of the open file description: forked children that run another program lose it, and threads
  // share it. Over NFS it is a lock of the server's.
  static int lock_description(int file);

  // Takes the lock at `path`, making the file if need be. Throws ConfigError, "WHAT is in use by
  // process ...", where somebody holds it, and DataError where the file cannot be made, or
  // something else has its name (links are not followed). Where the file system has no locks the
  // word of the file is taken: a holder on this host that still runs is refused as well. A
  // lock whose holder names nobody that runs is waited for, 0.2 s: it may be about to come free.
  LockFile(const std::string& path, const std::string& what, const Holder& holder,
           const Lock& lock = lock_description);
  // Empties the file and gives the lock back.
  ~LockFile();
  LockFile(const LockFile&) = delete;
  LockFile& operator=(const LockFile&) = delete;

  // What people should know: a holder that is gone without giving back, or a file system without
  // locks. Empty: nothing.
  const std::string& notice() const { return notice_; }
  // Throws DataError where the file is not the one at the path any more: who removes it lets
  // another in.
  void require_held() const;

 private:
  std::string path_, what_;
  Descriptor file_;
  std::string notice_;
};

}  // namespace seq1f1b::base

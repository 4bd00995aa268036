#pragma once
// One process at a time, by a lock file that lives as long as the lock; it stays, empty, where the
// file system has no locks. Private to core/data.
#include <string>

#include "core/base/descriptor.h"

namespace seq1f1b::data {

class PrefixLock {
 public:
  // Of the file PREFIX.seq1f1b.lock. Waits while another process has it, at most
  // `patience_seconds`. Throws DataError, also where something else has that name, which stays.
  explicit PrefixLock(const std::string& prefix, double patience_seconds = 60);
  ~PrefixLock();
  PrefixLock(const PrefixLock&) = delete;
  PrefixLock& operator=(const PrefixLock&) = delete;
  // False where the file system has no locks.
  bool held() const { return held_; }

 private:
  std::string path_;
  base::Descriptor file_;
  bool held_ = false;
};

}  // namespace seq1f1b::data

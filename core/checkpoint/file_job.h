#pragma once
// The second of a save's three parts: one file, from host memory to the disk. It knows no group and
// no device and throws nothing of the disk's, so that any thread may run it.
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/base/files.h"
#include "core/checkpoint/directory.h"
#include "core/checkpoint/snapshot.h"

namespace seq1f1b::checkpoint {

// The boxes that elements [first, first + count) of a tensor's flattening are, in order: at most
// two for each dimension but one. In a file they lie behind one another.
struct Box {
  std::vector<std::int64_t> offset, shape;
  std::int64_t elements() const;
};
std::vector<Box> boxes_of(const std::vector<std::int64_t>& shape, std::int64_t first,
                          std::int64_t count);

class FileJob {
 public:
  // Writes FOLDER/FILE.safetensors. `pieces` and what they point to must live until run() is over.
  FileJob(std::string folder, std::string file, std::span<const StoredPiece> pieces);
  FileJob(std::string folder, const Snapshot& snapshot)
      : FileJob(std::move(folder), snapshot.file(), snapshot.pieces()) {}

  // Writes and syncs. `progress` sees every step on the disk before it is taken, on this thread.
  // What the disk refuses becomes the result's failure.
  FileResult run(const base::DiskObserver& progress) const;

 private:
  std::string folder_, file_;
  std::span<const StoredPiece> pieces_;
};

}  // namespace seq1f1b::checkpoint

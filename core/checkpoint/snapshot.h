#pragma once
// The first of a save's three parts: what a file is to hold, copied to the host. Taken at a step
// boundary on the thread that drives the device; the second part, a FileJob, needs neither.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/parameters/store.h"
#include "kernels/device.h"

namespace seq1f1b::checkpoint {

// Consecutive elements of one flattened tensor, all of them or a part, where they are now.
struct SavedPiece {
  std::string name;
  std::vector<std::int64_t> shape;  // of the whole tensor
  std::int64_t first = 0;           // the first element
  kernels::Tensor source;           // as many elements as there are in the piece
};

struct FileContents {
  std::string file;  // without extension
  std::vector<SavedPiece> pieces;
  std::size_t bytes() const;  // of the snapshot
};

// The files that this rank writes, of the rows and ranges that the layout gives it
// (parameters::Layout::writes), with moments where the store has any. Where several replicas write
// shards, "layers.0007.2-of-4" is the second one's.
std::vector<FileContents> files_to_save(const parameters::Store& store,
                                        const parameters::Replica& replica = {});

// A piece in host memory.
struct StoredPiece {
  std::string name;
  kernels::Dtype dtype = kernels::Dtype::kF32;
  std::vector<std::int64_t> shape;  // of the whole tensor
  std::int64_t first = 0;
  std::span<const std::byte> data;
};

// Host copies of one file's contents. Taking the next ones reuses the memory, so that saving file
// by file needs as much as the largest; a save in the background keeps one snapshot per file.
class Snapshot {
 public:
  Snapshot() = default;
  Snapshot(Snapshot&&) = default;
  Snapshot& operator=(Snapshot&&) = default;

  void take(const FileContents& contents, kernels::Device& device);
  const std::string& file() const { return file_; }
  std::span<const StoredPiece> pieces() const { return pieces_; }

 private:
  std::string file_;
  std::vector<StoredPiece> pieces_;
  std::vector<std::byte> host_;
};

}  // namespace seq1f1b::checkpoint

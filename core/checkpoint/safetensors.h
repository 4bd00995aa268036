#pragma once
// The safetensors format (huggingface/safetensors): u64 header length, JSON header padded with spaces
// to a multiple of 8, then the tensors back to back, little-endian, row-major.
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/common/tensor.h"

namespace seq1f1b::checkpoint {

struct StoredTensor {
  std::string name;
  kernels::Dtype dtype = kernels::Dtype::kF32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> data;  // host memory
};

// Writes the file completely, fsyncs it, and returns its size and XXH3-64 checksum (16 hex digits).
// Tensors are laid out by descending dtype size, then name. Byte-identical for equal input. Throws
// DataError naming file, bytes needed and free when the disk is full.
struct FileRecord {
  std::string name;  // within the checkpoint folder
  std::uint64_t bytes = 0;
  std::string checksum;
};
FileRecord write_safetensors(const std::string& path, std::span<const StoredTensor> tensors,
                             const std::map<std::string, std::string>& metadata);

// Maps a file. Throws DataError with file and byte offset for a bad header, holes, overlaps, wrong
// sizes.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::string& path);
  ~SafetensorsFile();
  SafetensorsFile(SafetensorsFile&&) noexcept;
  std::span<const StoredTensor> tensors() const;          // in file order
  const StoredTensor& find(const std::string& name) const;  // throws DataError when absent
  const std::map<std::string, std::string>& metadata() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// XXH3-64 of a whole file, 16 hex digits.
std::string file_checksum(const std::string& path);

}  // namespace seq1f1b::checkpoint

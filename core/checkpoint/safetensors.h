#pragma once
// The safetensors format (huggingface/safetensors): u64 header length, JSON header padded with
// spaces to a multiple of 8, then the tensors back to back, little-endian, row-major.
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/checksum.h"
#include "core/base/files.h"
#include "kernels/common/tensor.h"

namespace seq1f1b::checkpoint {

using base::Checksum;
using base::file_checksum;
using base::text_checksum;

struct StoredTensor {
  std::string name;
  kernels::Dtype dtype = kernels::Dtype::kF32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> data;  // host memory
};

// The format's names: F64, F32, BF16, I32. Others exist but this program neither writes nor reads
// them.
const char* stored_name(kernels::Dtype dtype);
std::optional<kernels::Dtype> dtype_of_stored_name(std::string_view name);

// Elements of a tensor of the shape.
std::int64_t element_count(std::span<const std::int64_t> shape);

struct FileRecord {
  std::string name;  // within the checkpoint folder
  std::uint64_t bytes = 0;
  std::string checksum;  // XXH3-64, 16 hex digits
};
struct TensorRecord {
  std::uint64_t begin = 0;  // its first byte in the file
  std::string checksum;     // of its bytes alone
};
struct WrittenFile {
  FileRecord file;
  std::vector<TensorRecord> tensors;  // one for each that was given, in the order given
};

// Writes the file completely, fsyncs it, and returns what was written where, with checksums.
// Tensors are laid out by descending dtype size, then name, so that each is aligned to its element.
// Byte-identical for equal input, whatever its order. The data is never copied as a whole. Throws
// DataError naming file, bytes needed and free when the disk is full.
WrittenFile write_safetensors(const std::string& path, std::span<const StoredTensor> tensors,
                              const std::map<std::string, std::string>& metadata,
                              const base::Disk& disk = base::Disk());

// Maps a file. Throws DataError with file and byte offset for a bad header, holes, overlaps, wrong
// sizes. Files of other writers need not align their tensors: copy before reading elements.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::string& path);
  ~SafetensorsFile();
  SafetensorsFile(SafetensorsFile&&) noexcept;
  std::span<const StoredTensor> tensors() const;            // in file order
  const StoredTensor& find(const std::string& name) const;  // throws DataError when absent
  std::uint64_t begin(const StoredTensor& tensor) const;    // its first byte in the file
  const std::map<std::string, std::string>& metadata() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace seq1f1b::checkpoint

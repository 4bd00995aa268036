#pragma once
// A whole file mapped read-only. Pages are read when touched and shared between the ranks of a
// node.
#include <cstddef>
#include <span>
#include <string>

#include "core/base/descriptor.h"

namespace seq1f1b::base {

// Throws DataError when the file cannot be opened or mapped, or is not a regular file. A file that
// is shortened while it is mapped kills the reader by SIGBUS: our own writers only ever replace
// files, and whoever reads for days asks require_whole() now and then.
class MappedFile {
 public:
  enum class Keep { kMapping, kFile };
  // kFile: keeps the file open as well, for require_whole().
  explicit MappedFile(const std::string& path, Keep keep = Keep::kMapping);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::string& path() const { return path_; }
  // Throws DataError when the file, which was kept open, has become shorter than the mapping.
  void require_whole() const;
  // Tells the kernel that the file will be read once from front to back, so that it reads ahead.
  void expect_sequential() const;

 private:
  std::string path_;
  Descriptor file_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace seq1f1b::base

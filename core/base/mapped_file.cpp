#include "core/base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <utility>

#include "core/base/descriptor.h"
#include "core/base/files.h"
#include "kernels/common/errors.h"

namespace seq1f1b::base {

MappedFile::MappedFile(const std::string& path, Keep keep) : path_(path) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) throw_file_error("cannot open", path);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) throw_file_error("cannot inspect", path);
  if (!S_ISREG(status.st_mode)) throw DataError(concat("not a regular file: ", path));
  size_ = static_cast<std::size_t>(status.st_size);
  if (size_ == 0) return;  // mmap refuses a length of zero
  void* address = ::mmap(nullptr, size_, PROT_READ, MAP_SHARED, file.get(), 0);
  if (address == MAP_FAILED) throw_file_error("cannot map", path);
  data_ = static_cast<const std::byte*>(address);
  if (keep == Keep::kFile) file_ = std::move(file);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      file_(std::move(other.file_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  // What this object held is unmapped by `other`'s destructor.
  std::swap(path_, other.path_);
  std::swap(file_, other.file_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void MappedFile::require_whole() const {
  if (size_ == 0) return;
  struct stat status {};
  if (::fstat(file_.get(), &status) != 0) throw_file_error("cannot inspect", path_);
  if (static_cast<std::size_t>(status.st_size) < size_)
    throw DataError(concat(path_, ": has ", status.st_size, " bytes, ", size_,
                           " when it was opened: it was shortened while it was being read"));
}

void MappedFile::expect_sequential() const {
  // Advice only: a failure changes nothing but speed.
  if (data_ != nullptr) ::madvise(const_cast<std::byte*>(data_), size_, MADV_SEQUENTIAL);
}

}  // namespace seq1f1b::base

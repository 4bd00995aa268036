#include "core/metrics/line_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <system_error>

#include "core/base/files.h"

namespace seq1f1b::metrics {
namespace {

// Behind the last newline; 0 when there is none.
off_t end_of_last_line(int file, const std::string& path) {
  off_t end = ::lseek(file, 0, SEEK_END);
  std::array<char, 4096> block;
  while (end > 0) {
    const off_t begin =
        end > static_cast<off_t>(block.size()) ? end - static_cast<off_t>(block.size()) : 0;
    const ssize_t count = ::pread(file, block.data(), static_cast<std::size_t>(end - begin), begin);
    if (count != end - begin) base::throw_file_error("cannot read", path);
    for (ssize_t i = count; i > 0; --i)
      if (block[static_cast<std::size_t>(i - 1)] == '\n') return begin + i;
    end = begin;
  }
  return 0;
}

}  // namespace

LineFile::LineFile(const std::string& path, bool append) : path_(path) {
  const int mode = O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | (append ? 0 : O_TRUNC);
  file_ = base::Descriptor(::open(path.c_str(), mode, 0666));
  if (!file_) base::throw_file_error("cannot open", path);
  if (append && ::ftruncate(file_.get(), end_of_last_line(file_.get(), path)) != 0)
    base::throw_file_error("cannot shorten", path);
}

void LineFile::write(std::string_view line) {
  std::string text(line);
  text += '\n';
  std::string_view rest = text;
  while (!rest.empty()) {
    const ssize_t count = ::write(file_.get(), rest.data(), rest.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      const std::string why = std::generic_category().message(errno);
      // A full disk takes the beginning of a line: readers of whole lines would stumble over it.
      const auto written = static_cast<off_t>(text.size() - rest.size());
      if (written > 0 && ::ftruncate(file_.get(), ::lseek(file_.get(), 0, SEEK_END) - written) != 0)
        warned_ = false;  // worth saying again
      if (!warned_)
        std::fprintf(stderr, "seq1f1b: cannot write %s: %s; lines are lost until this is mended\n",
                     path_.c_str(), why.c_str());
      warned_ = true;
      return;
    }
    rest.remove_prefix(static_cast<std::size_t>(count));
  }
}

}  // namespace seq1f1b::metrics

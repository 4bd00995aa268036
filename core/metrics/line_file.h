#pragma once
// A text file that grows by whole lines.
#include <string>
#include <string_view>

#include "core/base/descriptor.h"

namespace seq1f1b::metrics {

class LineFile {
 public:
  // Empties the file, or continues it behind its last complete line. Throws DataError when it
  // cannot be opened.
  LineFile(const std::string& path, bool append);
  // Hands `line` and a newline to the system at once, so that other readers never see half of it
  // and a kill loses nothing. A line that does not fit the disk is left out as a whole. The first
  // failure is said on stderr.
  void write(std::string_view line);

 private:
  std::string path_;
  base::Descriptor file_;
  bool warned_ = false;
};

}  // namespace seq1f1b::metrics

#pragma once
// The text that prepare reads, and what is refused as no plain text.
#include <optional>
#include <string>
#include <string_view>

#include "apps/commands.h"
#include "core/base/mapped_file.h"

namespace seq1f1b::apps {

// A file is mapped; a pipe ("/dev/stdin", a process substitution) is read into memory. Unless
// --as-text says that all of it is text, compressed files, JSON lines and UTF-16 are refused, by
// their names and first bytes, as is whatever holds a NUL byte, and a UTF-8 byte order mark is left
// out. CRLF is what --line-endings says.
class InputText {
 public:
  // Throws DataError for what cannot be read and for no text, ConfigError for what needs a choice.
  explicit InputText(const PrepareArguments& arguments);

  std::string_view text() const { return text_; }
  // What was changed, for people: "a byte order mark left out"; empty: nothing.
  const std::string& notes() const { return notes_; }

 private:
  void leave_out_mark();
  void settle_line_ends(const PrepareArguments& arguments);
  void note(const std::string& what);

  std::optional<base::MappedFile> file_;
  std::string copy_;
  std::string_view text_;  // in one of the two
  std::string notes_;
};

}  // namespace seq1f1b::apps

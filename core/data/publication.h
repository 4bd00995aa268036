#pragma once
// How the files of a token set appear: all together, or not at all. Private to core/data.
//
// Three names cannot be replaced at once, so PREFIX.tokenizer.json is the commit point. While .bin
// and .idx change it holds a mark that every reader refuses; last of all it becomes the new
// tokenizer file. The old files wait under other names until then, and go back in case of a
// failure. What a killed process has left, the next one to publish the prefix puts back or clears
// away.
#include <optional>
#include <string>

#include "core/base/files.h"

namespace seq1f1b::data {

// `from` + this: the mark before it takes its place.
inline constexpr const char* kMarkEnding = ".mark";

// New files of a prefix while they are written, under a name of their own, PREFIX.tmp.PROCESS.HEX.
// What of them has not been published goes with the object.
class Draft {
 public:
  // Creates the first file, NAME.bin, and removes those of drafts of the prefix whose processes are
  // gone. Throws DataError, also where something other than a file has a name of the set.
  Draft(const base::Disk& disk, const std::string& prefix);
  ~Draft();
  Draft(const Draft&) = delete;
  Draft& operator=(const Draft&) = delete;
  const std::string& name() const { return name_; }
  base::OutputFile& content() { return *content_; }

 private:
  std::string name_;
  std::optional<base::OutputFile> content_;
  base::Descriptor in_use_;
};

// Gives the files `from`.bin, `from`.idx and, where `has_tokenizer`, `from`.tokenizer.json,
// complete and synced, the names of `prefix`, and syncs the folder. A tokenizer file of the prefix
// goes when the new set has none. One process at a time, which a lock file ensures where the file
// system has locks; a mixture that arises without them is refused by its record. Throws DataError;
// then the old files stand as they stood, or the message says where they are, or that the new ones
// stand but may not survive a power loss. Old files that cannot be removed stay for the next one to
// publish the prefix. `from` is the name of a draft of the prefix.
void publish(const base::Disk& disk, const std::string& from, const std::string& prefix,
             bool has_tokenizer);

}  // namespace seq1f1b::data

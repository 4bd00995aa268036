#pragma once
// index.json, and the look at a checkpoint folder that everything else begins with.
#include <string>
#include <vector>

#include "core/checkpoint/directory.h"

namespace seq1f1b::checkpoint {

// Of the files that hold tensors.
inline constexpr const char* kTensorExtension = ".safetensors";

struct Index {
  TrainingState state;
  std::vector<FileRecord> files;  // tensors and attachments
  std::vector<TensorEntry> tensors;
};

// In version 2, the newest.
std::string index_text(const Index& index);
// Of version 1 or 2. Throws DataError naming `path` when the text is no such index, when a tensor
// has a field that is not known here, which may change what the others mean, or when a part lies
// outside its tensor or in no listed file.
Index parse_index(const std::string& text, const std::string& path);

// One rank's records as a message to the others, and back.
std::string records_text(const std::vector<FileRecord>& files,
                         const std::vector<TensorEntry>& tensors);
void add_records(const std::string& text, Index& index);

// COMPLETE holds one line, the checksum of index.json (`xxhsum -H3` prints it) and its name.
std::string completion_text(const std::string& index_text);

// The index of a complete checkpoint. Throws DataError with the file and what differs when COMPLETE
// is missing or does not fit index.json, or when a file is missing or has another size.
Index open_complete(const std::string& folder);
bool is_complete(const std::string& folder);

}  // namespace seq1f1b::checkpoint

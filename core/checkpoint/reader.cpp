#include <algorithm>
#include <filesystem>

#include "core/checkpoint/directory.h"
#include "core/checkpoint/index.h"
#include "kernels/common/errors.h"

namespace seq1f1b::checkpoint {
namespace {

const FileRecord* find_record(const std::vector<FileRecord>& records, const std::string& name) {
  const auto found = std::find_if(records.begin(), records.end(),
                                  [&](const FileRecord& record) { return record.name == name; });
  return found == records.end() ? nullptr : &*found;
}

const FileRecord& need_record(const std::vector<FileRecord>& records, const std::string& folder,
                              const std::string& name) {
  const FileRecord* record = find_record(records, name);
  if (record == nullptr) throw DataError(concat(folder, ": index.json lists no file ", name));
  return *record;
}

void compare(const std::string& path, const std::string& checksum, const FileRecord& record) {
  if (checksum != record.checksum)
    throw DataError(concat(path, ": checksum is ", checksum, ", index.json says ", record.checksum,
                           ": the file was altered or damaged"));
}

}  // namespace

Reader::Reader(const std::string& path, base::DiskObserver observer)
    : path_(path), observer_(std::move(observer)) {
  while (path_.size() > 1 && path_.ends_with('/')) path_.pop_back();
  if (std::filesystem::is_directory(path_ + "/checkpoints"))
    throw DataError(
        concat(path_, " is a run directory; name one of ", path_, "/checkpoints/step_*"));
  Index index = open_complete(path_);
  state_ = std::move(index.state);
  records_ = std::move(index.files);
  tensors_ = std::move(index.tensors);
}

const SafetensorsFile& Reader::file(const std::string& name) {
  const auto open = open_.find(name);
  if (open != open_.end()) return open->second;
  const std::string file_name = name + ".safetensors";
  const FileRecord& record = need_record(records_, path_, file_name);
  const std::string path = path_ + "/" + record.name;
  if (observer_) observer_("read", path);
  compare(path, file_checksum(path), record);
  return open_.emplace(name, SafetensorsFile(path)).first->second;
}

bool Reader::has_attachment(const std::string& name) const {
  return find_record(records_, name) != nullptr;
}

std::string Reader::attachment(const std::string& name) const {
  const FileRecord& record = need_record(records_, path_, name);
  std::string text = base::read_file(path_ + "/" + name);
  compare(path_ + "/" + name, text_checksum(text), record);
  return text;
}

}  // namespace seq1f1b::checkpoint

#include <algorithm>
#include <filesystem>

#include "core/checkpoint/directory.h"
#include "core/checkpoint/folders.h"
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

void compare(const std::string& what, const std::string& found, const std::string& expected,
             const char* kind) {
  if (found != expected)
    throw DataError(concat(what, ": checksum is ", found, ", index.json says ", expected, ": the ",
                           kind, " was altered or damaged"));
}

// A run directory, its checkpoints/ or the marker in there, where one checkpoint is meant: says
// which there are.
void refuse_folder_of_checkpoints(const std::string& path) {
  const std::filesystem::path file(path);
  if (file.filename() == kMarker && base::exists(path) && !base::is_folder(path)) {
    const std::string parent = file.parent_path().string();
    const auto step = read_marker(parent.empty() ? "." : parent);
    throw DataError(concat(path, " is a file that names a checkpoint, not one itself",
                           step
                               ? concat(": name ", (file.parent_path() / step_name(*step)).string())
                               : ", and this one names none"));
  }
  const bool run = base::is_folder(checkpoints_folder(path));
  const std::string folder = run ? checkpoints_folder(path) : path;
  const auto steps = list_steps(folder);
  if (!run && steps.empty()) return;
  const auto newest =
      std::ranges::find_if(steps, [](const StepFolder& step) { return is_complete(step.path); });
  throw DataError(concat(path, run ? " is a run directory" : " is a folder of checkpoints",
                         newest == steps.end()
                             ? concat(", and none in ", folder, " is complete")
                             : concat("; the newest checkpoint in it is ", newest->path)));
}

}  // namespace

Reader::Reader(const std::string& path, base::DiskObserver observer)
    : path_(path), observer_(std::move(observer)) {
  while (path_.size() > 1 && path_.ends_with('/')) path_.pop_back();
  refuse_folder_of_checkpoints(path_);
  Index index = open_complete(path_);
  state_ = std::move(index.state);
  records_ = std::move(index.files);
  tensors_ = std::move(index.tensors);
  for (std::size_t i = 0; i < tensors_.size(); ++i) places_[tensors_[i].name] = i;
}

const StoredTensor& Reader::tensor(const std::string& name) {
  const auto place = places_.find(name);
  if (place == places_.end()) throw DataError(concat(path_, "/index.json lists no tensor ", name));
  const TensorEntry& entry = tensors_[place->second];
  if (!entry.whole())
    throw DataError(concat(path_, ": ", name, " is not stored whole, in one part (",
                           entry.parts.size(), " listed); this program does not join parts yet"));
  const TensorPart& part = entry.parts.front();
  const SafetensorsFile& file = open(part);
  const StoredTensor& tensor = file.find(name);
  const std::string path = path_ + "/" + part.file;
  if (stored_name(tensor.dtype) != entry.dtype || tensor.shape != entry.shape ||
      file.begin(tensor) != part.begin.value_or(file.begin(tensor)))
    throw DataError(concat(path, ": ", name,
                           " has another dtype, shape or place than index.json says: the file was "
                           "altered or damaged"));
  if (!part.checksum.empty() && !checked_.contains(name)) {
    if (observer_) observer_("read", path);
    base::Checksum checksum;
    checksum.update(tensor.data);
    compare(concat(path, ": ", name), checksum.hex(), part.checksum, "tensor");
    checked_.insert(name);
  }
  return tensor;
}

const SafetensorsFile& Reader::open(const TensorPart& part) {
  const auto open = open_.find(part.file);
  if (open != open_.end()) return open->second;
  const std::string path = path_ + "/" + part.file;
  if (part.checksum.empty()) {  // version 1
    if (observer_) observer_("read", path);
    compare(path, base::file_checksum(path), need_record(records_, path_, part.file).checksum,
            "file");
  }
  return open_.emplace(part.file, SafetensorsFile(path)).first->second;
}

bool Reader::has_attachment(const std::string& name) const {
  return find_record(records_, name) != nullptr;
}

std::string Reader::attachment(const std::string& name) const {
  const FileRecord& record = need_record(records_, path_, name);
  std::string text = base::read_file(path_ + "/" + name);
  compare(path_ + "/" + name, text_checksum(text), record.checksum, "file");
  return text;
}

}  // namespace seq1f1b::checkpoint

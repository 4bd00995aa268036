#include "core/checkpoint/index.h"

#include <algorithm>
#include <filesystem>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "kernels/common/errors.h"

namespace seq1f1b::checkpoint {
namespace {

// Ordered, so that the file reads from the general to the particular and the model section comes
// back as it was given.
using Json = nlohmann::ordered_json;

constexpr int kVersion = 2;
constexpr const char* kFormat = "seq1f1b checkpoint";

Json files_json(const std::vector<FileRecord>& files) {
  Json list = Json::array();
  for (const FileRecord& file : files)
    list.push_back({{"name", file.name}, {"bytes", file.bytes}, {"xxh3_64", file.checksum}});
  return list;
}

Json parts_json(const std::vector<TensorPart>& parts) {
  Json list = Json::array();
  for (const TensorPart& part : parts)
    list.push_back({{"file", part.file},
                    {"offset", part.offset},
                    {"shape", part.shape},
                    {"begin", part.begin.value()},
                    {"xxh3_64", part.checksum}});
  return list;
}

Json tensors_json(const std::vector<TensorEntry>& tensors) {
  Json list = Json::array();
  for (const TensorEntry& tensor : tensors)
    list.push_back({{"name", tensor.name},
                    {"dtype", tensor.dtype},
                    {"shape", tensor.shape},
                    {"parts", parts_json(tensor.parts)}});
  return list;
}

// Like dump(1), but with a line for each file and tensor: a large model has thousands.
std::string line_by_line(const Json& root) {
  std::string text = "{";
  for (const auto& [key, value] : root.items()) {
    text += concat(text.size() > 1 ? "," : "", "\n ", Json(key).dump(), ": ");
    if (!value.is_array()) {
      text += value.dump();
      continue;
    }
    std::string before = "[\n  ";
    for (const Json& entry : value) text += std::exchange(before, ",\n  ") + entry.dump();
    text += value.empty() ? "[]" : "\n ]";
  }
  return text + "\n}\n";
}

// A name that leaves its folder would make a foreign index read or write anywhere.
void check_plain(const std::string& name) {
  if (name.empty() || name.front() == '.' || name.find('/') != std::string::npos)
    throw DataError(concat("\"", name, "\" is not a plain file name"));
}

void add_files(const Json& list, std::vector<FileRecord>& files) {
  for (const Json& entry : list) {
    files.push_back({entry.at("name").get<std::string>(), entry.at("bytes").get<std::uint64_t>(),
                     entry.at("xxh3_64").get<std::string>()});
    check_plain(files.back().name);
  }
}

// Version 1: the file without its extension, which holds the tensor whole.
TensorPart part_of_version_1(const Json& entry, const std::vector<std::int64_t>& shape) {
  return {entry.at("file").get<std::string>() + kTensorExtension,
          std::vector<std::int64_t>(shape.size(), 0), shape, std::nullopt, ""};
}

void check_fields(const Json& entry, const std::string& tensor,
                  std::initializer_list<std::string_view> known) {
  for (const auto& [key, value] : entry.items())
    if (std::find(known.begin(), known.end(), key) == known.end())
      throw DataError(concat("tensor ", tensor, " has the field \"", key,
                             "\", which this program does not know: a newer one wrote it"));
}

TensorPart parse_part(const Json& entry, const std::string& tensor) {
  check_fields(entry, tensor, {"file", "offset", "shape", "begin", "xxh3_64"});
  return {entry.at("file").get<std::string>(), entry.at("offset").get<std::vector<std::int64_t>>(),
          entry.at("shape").get<std::vector<std::int64_t>>(),
          entry.at("begin").get<std::uint64_t>(), entry.at("xxh3_64").get<std::string>()};
}

void check_place(const TensorEntry& tensor, const TensorPart& part) {
  const std::size_t rank = tensor.shape.size();
  bool inside = part.offset.size() == rank && part.shape.size() == rank;
  for (std::size_t i = 0; inside && i < rank; ++i)
    inside = part.offset[i] >= 0 && part.shape[i] >= 0 && part.shape[i] <= tensor.shape[i] &&
             part.offset[i] <= tensor.shape[i] - part.shape[i];
  if (!inside)
    throw DataError(
        concat("a part of tensor ", tensor.name, " in ", part.file, " lies outside the tensor"));
}

void add_tensors(const Json& list, int version, std::vector<TensorEntry>& tensors) {
  for (const Json& entry : list) {
    TensorEntry tensor{entry.at("name").get<std::string>(),
                       entry.at("dtype").get<std::string>(),
                       entry.at("shape").get<std::vector<std::int64_t>>(),
                       {}};
    if (version == 1) {
      tensor.parts.push_back(part_of_version_1(entry, tensor.shape));
    } else {
      check_fields(entry, tensor.name, {"name", "dtype", "shape", "parts"});
      for (const Json& part : entry.at("parts"))
        tensor.parts.push_back(parse_part(part, tensor.name));
    }
    if (tensor.parts.empty()) throw DataError(concat("tensor ", tensor.name, " has no parts"));
    for (const TensorPart& part : tensor.parts) check_place(tensor, part);
    tensors.push_back(std::move(tensor));
  }
}

void check_files(const Index& index) {
  std::set<std::string_view> names;
  for (const FileRecord& file : index.files) names.insert(file.name);
  for (const TensorEntry& tensor : index.tensors)
    for (const TensorPart& part : tensor.parts)
      if (!names.contains(part.file))
        throw DataError(concat("tensor ", tensor.name, " lies in ", part.file,
                               ", which is not among the files"));
}

void check_file(const std::string& folder, const FileRecord& record) {
  const std::string path = folder + "/" + record.name;
  std::error_code why;
  const std::uint64_t bytes = std::filesystem::file_size(path, why);
  if (why)
    throw DataError(concat(path, ": missing or unreadable (", why.message(),
                           "); index.json lists it with ", record.bytes, " bytes"));
  if (bytes != record.bytes)
    throw DataError(concat(path, ": has ", bytes, " bytes, index.json says ", record.bytes,
                           ": the ",
                           bytes < record.bytes ? "file is truncated" : "file was altered"));
}

}  // namespace

bool TensorEntry::whole() const { return parts.size() == 1 && parts.front().shape == shape; }

std::string index_text(const Index& index) {
  Json root;
  root["format"] = kFormat;
  root["version"] = kVersion;
  root["step"] = index.state.step;
  root["consumed_samples"] = index.state.consumed_samples;
  root["consumed_tokens"] = index.state.consumed_tokens;
  if (index.state.course != 0) root["course"] = index.state.course;
  root["model"] = Json::parse(index.state.model_json);
  root["extra"] = Json::parse(index.state.extra_json);
  root["files"] = files_json(index.files);
  root["tensors"] = tensors_json(index.tensors);
  return line_by_line(root);
}

Index parse_index(const std::string& text, const std::string& path) {
  Index index;
  try {
    const Json root = Json::parse(text);
    if (root.at("format") != kFormat) throw DataError("not the index of a checkpoint");
    const int version = root.at("version").get<int>();
    if (version != 1 && version != kVersion)
      throw DataError(
          concat("format version ", version, "; this program reads versions 1 and ", kVersion));
    index.state.step = root.at("step").get<std::int64_t>();
    index.state.consumed_samples = root.at("consumed_samples").get<std::int64_t>();
    index.state.consumed_tokens = root.at("consumed_tokens").get<std::int64_t>();
    index.state.course = root.value("course", std::int64_t{0});
    for (const char* count : {"step", "consumed_samples", "consumed_tokens", "course"})
      if (root.value(count, std::int64_t{0}) < 0)
        throw DataError(concat("the field \"", count, "\" is negative: ", root.at(count).dump()));
    index.state.model_json = root.at("model").dump();
    index.state.extra_json = root.at("extra").dump();
    add_files(root.at("files"), index.files);
    add_tensors(root.at("tensors"), version, index.tensors);
    check_files(index);
  } catch (const Json::exception& error) {
    throw DataError(concat(path, ": ", error.what()));
  } catch (const DataError& error) {
    throw DataError(concat(path, ": ", error.what()));
  }
  return index;
}

std::string records_text(const std::vector<FileRecord>& files,
                         const std::vector<TensorEntry>& tensors) {
  return Json{{"files", files_json(files)}, {"tensors", tensors_json(tensors)}}.dump();
}

void add_records(const std::string& text, Index& index) {
  const Json root = Json::parse(text);
  add_files(root.at("files"), index.files);
  add_tensors(root.at("tensors"), kVersion, index.tensors);
}

std::string completion_text(const std::string& index_text) {
  return text_checksum(index_text) + "  index.json\n";
}

Index open_complete(const std::string& folder) {
  if (!base::is_folder(folder)) throw DataError(concat(folder, ": no such folder"));
  const std::string complete = folder + "/COMPLETE", index_path = folder + "/index.json";
  if (!base::exists(complete))
    throw DataError(concat(folder, ": COMPLETE is missing: the checkpoint was not finished"));
  const std::string text = base::read_file(index_path);
  const std::string expected = base::read_file(complete);
  if (completion_text(text) != expected)
    throw DataError(concat(index_path, ": checksum is ", text_checksum(text), ", COMPLETE says ",
                           expected.substr(0, 16), ": one of the two was altered or damaged"));
  Index index = parse_index(text, index_path);
  for (const FileRecord& record : index.files) check_file(folder, record);
  return index;
}

bool is_complete(const std::string& folder) {
  try {
    open_complete(folder);
    return true;
  } catch (const DataError&) {
    return false;
  }
}

}  // namespace seq1f1b::checkpoint

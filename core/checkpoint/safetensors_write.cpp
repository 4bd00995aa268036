#include <algorithm>
#include <array>
#include <bit>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "core/checkpoint/safetensors.h"
#include "kernels/common/errors.h"

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

namespace seq1f1b::checkpoint {
namespace {

using kernels::Dtype;

struct DtypeName {
  Dtype dtype;
  const char* name;
};
constexpr std::array<DtypeName, 4> kDtypeNames{
    {{Dtype::kF64, "F64"}, {Dtype::kF32, "F32"}, {Dtype::kBf16, "BF16"}, {Dtype::kI32, "I32"}}};

// Hashed and written while still in the cache.
constexpr std::size_t kSliceBytes = std::size_t{4} << 20;

std::vector<const StoredTensor*> in_file_order(std::span<const StoredTensor> tensors) {
  std::vector<const StoredTensor*> order;
  for (const StoredTensor& tensor : tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](const StoredTensor* a, const StoredTensor* b) {
    const std::size_t a_bytes = kernels::dtype_bytes(a->dtype);
    const std::size_t b_bytes = kernels::dtype_bytes(b->dtype);
    return a_bytes != b_bytes ? a_bytes > b_bytes : a->name < b->name;
  });
  return order;
}

void check_tensor(const StoredTensor& tensor) {
  std::size_t bytes = kernels::dtype_bytes(tensor.dtype);
  for (std::int64_t extent : tensor.shape) {
    SEQ1F1B_ASSERT(extent >= 0, tensor.name);
    bytes *= static_cast<std::size_t>(extent);
  }
  SEQ1F1B_ASSERT(bytes == tensor.data.size(), tensor.name, ": shape needs ", bytes,
                 " bytes, given ", tensor.data.size());
  SEQ1F1B_ASSERT(tensor.name != "__metadata__", "reserved name");
}

// An ordered object keeps the entries in file order, which makes the header readable by eye.
std::string header_text(const std::vector<const StoredTensor*>& order,
                        const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::size_t offset = 0;
  std::set<std::string_view> names;
  for (const StoredTensor* tensor : order) {
    check_tensor(*tensor);
    SEQ1F1B_ASSERT(names.insert(tensor->name).second, "tensor named twice: ", tensor->name);
    const std::size_t end = offset + tensor->data.size();
    nlohmann::ordered_json entry;
    entry["dtype"] = stored_name(tensor->dtype);
    entry["shape"] = tensor->shape;
    entry["data_offsets"] = {offset, end};
    header.push_back({tensor->name, std::move(entry)});
    offset = end;
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return text;
}

}  // namespace

std::int64_t element_count(std::span<const std::int64_t> shape) {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) count *= extent;
  return count;
}

const char* stored_name(Dtype dtype) {
  for (const DtypeName& entry : kDtypeNames)
    if (entry.dtype == dtype) return entry.name;
  throw InternalError("internal error: dtype without a stored name");
}

std::optional<Dtype> dtype_of_stored_name(std::string_view name) {
  for (const DtypeName& entry : kDtypeNames)
    if (entry.name == name) return entry.dtype;
  return std::nullopt;
}

WrittenFile write_safetensors(const std::string& path, std::span<const StoredTensor> tensors,
                              const std::map<std::string, std::string>& metadata,
                              const base::Disk& disk) {
  const auto order = in_file_order(tensors);
  const std::string header = header_text(order, metadata);
  const std::uint64_t header_bytes = header.size();
  WrittenFile written{{std::filesystem::path(path).filename().string(), 8 + header_bytes, ""},
                      std::vector<TensorRecord>(tensors.size())};
  FileRecord& record = written.file;
  const auto record_of = [&](const StoredTensor* tensor) -> TensorRecord& {
    return written.tensors[static_cast<std::size_t>(tensor - tensors.data())];
  };
  for (const StoredTensor* tensor : order) {
    record_of(tensor).begin = record.bytes;
    record.bytes += tensor->data.size();
  }

  const std::string folder = std::filesystem::path(path).parent_path().string();
  base::require_free_space(folder.empty() ? "." : folder, record.bytes);
  base::OutputFile file = disk.create(path);
  Checksum checksum;
  const auto put = [&](std::span<const std::byte> bytes) {
    checksum.update(bytes);
    file.write(bytes);
  };
  put(std::as_bytes(std::span(&header_bytes, 1)));
  put(std::as_bytes(std::span(header)));
  for (const StoredTensor* tensor : order) {
    base::Checksum alone;
    for (std::size_t at = 0; at < tensor->data.size(); at += kSliceBytes) {
      const auto slice = tensor->data.subspan(at, std::min(kSliceBytes, tensor->data.size() - at));
      alone.update(slice);
      put(slice);
    }
    record_of(tensor).checksum = alone.hex();
  }
  file.finish();
  record.checksum = checksum.hex();
  return written;
}

}  // namespace seq1f1b::checkpoint

// The strict reader: whatever the format forbids is refused, so that a file that opens is a file
// whose every byte is accounted for. Rules: README.md and safetensors/src/tensor.rs of
// huggingface/safetensors.
#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "core/base/mapped_file.h"
#include "core/checkpoint/safetensors.h"
#include "kernels/common/errors.h"

namespace seq1f1b::checkpoint {
namespace {

using nlohmann::json;

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // limit of the format
constexpr std::uint64_t kPrefixBytes = 8;               // the header's length

class HeaderParser {
 public:
  explicit HeaderParser(const base::MappedFile& file) : file_(file) {
    const auto bytes = file.bytes();
    if (bytes.size() < kPrefixBytes)
      fail(bytes.size(), concat("file ends within the header length (", bytes.size(), " bytes)"));
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof length);
    if (length > kMaxHeaderBytes)
      fail(0, concat("header length ", length, " exceeds the format's limit of ", kMaxHeaderBytes));
    if (length > bytes.size() - kPrefixBytes)
      fail(0, concat("header length ", length, " exceeds the file (", bytes.size(), " bytes)"));
    text_ = {reinterpret_cast<const char*>(bytes.data()) + kPrefixBytes,
             static_cast<std::size_t>(length)};
    buffer_ = bytes.subspan(kPrefixBytes + length);
  }

  void parse(std::vector<StoredTensor>& tensors, std::map<std::string, std::string>& metadata) {
    const json header = parse_json();
    for (const auto& [name, entry] : header.items()) {
      if (name == "__metadata__")
        parse_metadata(entry, metadata);
      else
        parse_tensor(name, entry);
    }
    check_coverage();
    for (Placed& placed : placed_) tensors.push_back(std::move(placed.tensor));
  }

 private:
  struct Placed {
    std::uint64_t begin, end;
    StoredTensor tensor;
  };

  [[noreturn]] void fail(std::uint64_t offset, const std::string& what) const {
    throw DataError(concat(file_.path(), ": byte ", offset, ": ", what));
  }
  // At the last place in the header where `name` is written.
  [[noreturn]] void fail_at(const std::string& name, const std::string& what) const {
    const std::size_t found = text_.rfind(json(name).dump());
    fail(kPrefixBytes + (found == std::string_view::npos ? 0 : found),
         concat("\"", name, "\": ", what));
  }
  std::uint64_t buffer_start() const { return kPrefixBytes + text_.size(); }

  json parse_json() const {
    if (text_.empty() || text_.front() != '{') fail(kPrefixBytes, "header does not begin with '{'");
    const std::size_t last = text_.find_last_not_of(' ');
    if (text_[last] != '}') fail(kPrefixBytes + last, "header does not end with '}' and spaces");
    // The library keeps the last of equal keys; the format forbids them.
    std::vector<std::set<std::string>> keys;
    const json::parser_callback_t refuse_duplicates = [&](int, json::parse_event_t event,
                                                          json& value) {
      if (event == json::parse_event_t::object_start) keys.emplace_back();
      if (event == json::parse_event_t::object_end) keys.pop_back();
      if (event == json::parse_event_t::key && !keys.back().insert(value.get<std::string>()).second)
        fail_at(value.get<std::string>(), "key given twice");
      return true;
    };
    try {
      return json::parse(text_.begin(), text_.end(), refuse_duplicates);
    } catch (const json::parse_error& error) {
      fail(kPrefixBytes + (error.byte > 0 ? error.byte - 1 : 0), "header is not valid JSON");
    } catch (const json::out_of_range&) {  // of a number; the library does not say where
      fail(kPrefixBytes, "header holds a number beyond double precision");
    }
  }

  void parse_metadata(const json& entry, std::map<std::string, std::string>& metadata) const {
    if (!entry.is_object()) fail_at("__metadata__", "not an object");
    for (const auto& [key, value] : entry.items()) {
      if (!value.is_string()) fail_at(key, "metadata is not a string");
      metadata[key] = value.get<std::string>();
    }
  }

  void parse_tensor(const std::string& name, const json& entry) {
    if (!entry.is_object() || entry.size() != 3 || !entry.contains("dtype") ||
        !entry.contains("shape") || !entry.contains("data_offsets"))
      fail_at(name, "needs exactly dtype, shape and data_offsets");
    const json& dtype_name = entry["dtype"];
    if (!dtype_name.is_string()) fail_at(name, "dtype is not a string");
    const auto dtype = dtype_of_stored_name(dtype_name.get<std::string>());
    if (!dtype)
      fail_at(name, concat("dtype ", dtype_name.get<std::string>(),
                           " is not known here (F64, F32, BF16, I32 are)"));
    const auto shape = naturals(name, "shape", entry["shape"]);
    const auto offsets = naturals(name, "data_offsets", entry["data_offsets"]);
    if (offsets.size() != 2) fail_at(name, "data_offsets is not a pair");
    const std::uint64_t begin = offsets[0], end = offsets[1];
    if (begin > end || end > buffer_.size())
      fail_at(name, concat("data_offsets [", begin, ",", end, "] lie outside the ", buffer_.size(),
                           " bytes of data"));
    const std::uint64_t bytes = bytes_of(name, shape, kernels::dtype_bytes(*dtype));
    if (bytes != end - begin)
      fail_at(name, concat("shape needs ", bytes, " bytes, data_offsets span ", end - begin));
    placed_.push_back({begin,
                       end,
                       {name, *dtype, std::vector<std::int64_t>(shape.begin(), shape.end()),
                        buffer_.subspan(begin, bytes)}});
  }

  std::vector<std::uint64_t> naturals(const std::string& name, const char* field,
                                      const json& list) const {
    if (!list.is_array()) fail_at(name, concat(field, " is not a list"));
    std::vector<std::uint64_t> values;
    for (const json& value : list) {
      constexpr std::uint64_t kMax = INT64_MAX;
      if (!value.is_number_unsigned() || value.get<std::uint64_t>() > kMax)
        fail_at(name, concat(field, " holds ", value.dump(), ", not a natural number"));
      values.push_back(value.get<std::uint64_t>());
    }
    return values;
  }

  std::uint64_t bytes_of(const std::string& name, const std::vector<std::uint64_t>& shape,
                         std::uint64_t element_bytes) const {
    std::uint64_t bytes = element_bytes;
    for (std::uint64_t extent : shape)
      if (__builtin_mul_overflow(bytes, extent, &bytes)) fail_at(name, "shape is too large");
    return bytes;
  }

  // Neither hole nor overlap, and nothing after the last tensor.
  void check_coverage() {
    std::sort(placed_.begin(), placed_.end(), [](const Placed& a, const Placed& b) {
      return std::tie(a.begin, a.end, a.tensor.name) < std::tie(b.begin, b.end, b.tensor.name);
    });
    std::uint64_t covered = 0;
    for (const Placed& placed : placed_) {
      if (placed.begin != covered)
        fail(
            buffer_start() + std::min(placed.begin, covered),
            concat(placed.begin > covered ? "hole before" : "overlap with", " tensor \"",
                   placed.tensor.name, "\", which begins at byte ", buffer_start() + placed.begin));
      covered = placed.end;
    }
    if (covered != buffer_.size())
      fail(buffer_start() + covered,
           concat(buffer_.size() - covered, " bytes after the last tensor"));
  }

  const base::MappedFile& file_;
  std::string_view text_;
  std::span<const std::byte> buffer_;
  std::vector<Placed> placed_;
};

}  // namespace

struct SafetensorsFile::State {
  explicit State(const std::string& path) : file(path) {
    HeaderParser(file).parse(tensors, metadata);
    for (std::size_t i = 0; i < tensors.size(); ++i) index[tensors[i].name] = i;
  }

  base::MappedFile file;
  std::vector<StoredTensor> tensors;
  std::map<std::string, std::string> metadata;
  std::map<std::string, std::size_t> index;
};

SafetensorsFile::SafetensorsFile(const std::string& path) : state_(std::make_unique<State>(path)) {}
SafetensorsFile::~SafetensorsFile() = default;
SafetensorsFile::SafetensorsFile(SafetensorsFile&&) noexcept = default;

std::span<const StoredTensor> SafetensorsFile::tensors() const { return state_->tensors; }

const StoredTensor& SafetensorsFile::find(const std::string& name) const {
  const auto found = state_->index.find(name);
  if (found == state_->index.end())
    throw DataError(concat(state_->file.path(), ": no tensor named ", name));
  return state_->tensors[found->second];
}

std::uint64_t SafetensorsFile::begin(const StoredTensor& tensor) const {
  return static_cast<std::uint64_t>(tensor.data.data() - state_->file.bytes().data());
}

const std::map<std::string, std::string>& SafetensorsFile::metadata() const {
  return state_->metadata;
}

}  // namespace seq1f1b::checkpoint

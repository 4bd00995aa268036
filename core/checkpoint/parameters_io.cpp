#include "core/checkpoint/parameters_io.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "core/checkpoint/finite.h"
#include "core/checkpoint/snapshot.h"
#include "kernels/common/bf16.h"
#include "kernels/common/errors.h"

namespace seq1f1b::checkpoint {

using kernels::Bf16;
using kernels::Dtype;
using kernels::Tensor;
using parameters::LocalParameter;
using parameters::Purpose;

namespace {

// The parameter or one of its moments.
struct Part {
  std::string suffix;
  Tensor tensor;
};

std::vector<Part> parts_of(const parameters::Store& store, const LocalParameter& row) {
  std::vector<Part> parts{{"", store.parameter(row)}};
  if (store.purpose() == Purpose::kTraining) {
    parts.push_back({kFirstMoment, store.first_moment(row)});
    parts.push_back({kSecondMoment, store.second_moment(row)});
  }
  return parts;
}

// Elements as stored, unaligned, to the type of the tensor in device memory; to and from bf16 by
// way of fp32.
template <class From, class To>
void convert(std::span<const std::byte> stored, std::vector<std::byte>& host) {
  constexpr bool kHalf = std::is_same_v<From, Bf16> || std::is_same_v<To, Bf16>;
  using Through = std::conditional_t<kHalf, float, To>;
  const std::size_t count = stored.size() / sizeof(From);
  host.resize(count * sizeof(To));
  for (std::size_t i = 0; i < count; ++i) {
    From value;
    std::memcpy(&value, stored.data() + i * sizeof(From), sizeof(From));
    const auto converted = static_cast<To>(static_cast<Through>(value));
    std::memcpy(host.data() + i * sizeof(To), &converted, sizeof(To));
  }
}

// False for types that no parameter has.
template <class From>
bool convert_to(Dtype target, std::span<const std::byte> stored, std::vector<std::byte>& host) {
  switch (target) {
    case Dtype::kF64:
      convert<From, double>(stored, host);
      return true;
    case Dtype::kF32:
      convert<From, float>(stored, host);
      return true;
    case Dtype::kBf16:
      convert<From, Bf16>(stored, host);
      return true;
    case Dtype::kI32:
      return false;
  }
  return false;
}

bool convert(Dtype from, Dtype to, std::span<const std::byte> stored,
             std::vector<std::byte>& host) {
  switch (from) {
    case Dtype::kF64:
      return convert_to<double>(to, stored, host);
    case Dtype::kF32:
      return convert_to<float>(to, stored, host);
    case Dtype::kBf16:
      return convert_to<Bf16>(to, stored, host);
    case Dtype::kI32:
      return false;
  }
  return false;
}

void require_moments(const Reader& reader) {
  const auto& tensors = reader.tensors();
  if (std::none_of(tensors.begin(), tensors.end(),
                   [](const TensorEntry& entry) { return entry.name.ends_with(kFirstMoment); }))
    throw DataError(concat(reader.path(),
                           " holds weights without the optimizer's moments: `sample` reads it, but "
                           "no run can go on from it"));
}

void require_finite(const StoredTensor& stored, const std::string& where) {
  const auto element = first_not_finite(stored);
  if (element)
    throw DataError(concat(where, ": element ", *element, " of ", stored.name,
                           " is not finite: the run had diverged when it was saved. Set "
                           "checkpoint.resume to an older checkpoint"));
}

void load_tensor(const StoredTensor& stored, const Tensor& target, const std::string& where,
                 std::vector<std::byte>& host, kernels::Device& device) {
  require_finite(stored, where);
  const auto shape = std::span(target.shape).first(static_cast<std::size_t>(target.rank));
  if (!std::equal(shape.begin(), shape.end(), stored.shape.begin(), stored.shape.end())) {
    std::string stored_shape;
    for (std::int64_t extent : stored.shape)
      stored_shape += concat(stored_shape.empty() ? "" : ",", extent);
    throw DataError(concat(where, ": ", stored.name, " has the shape [", stored_shape,
                           "], the configured model needs ", describe(target)));
  }
  if (stored.dtype == target.dtype) {
    device.upload(target.data, stored.data.data(), target.bytes());
    return;
  }
  if (!convert(stored.dtype, target.dtype, stored.data, host))
    throw DataError(concat(where, ": ", stored.name, " is ", dtype_name(stored.dtype),
                           " and cannot be loaded as ", dtype_name(target.dtype)));
  device.upload(target.data, host.data(), host.size());
}

}  // namespace

void save_parameters(Writer& writer, const parameters::Store& store, kernels::Device& device,
                     const parameters::Replica& replica) {
  Snapshot snapshot;
  for (const FileContents& contents : files_to_save(store, replica)) {
    snapshot.take(contents, device);
    writer.write(snapshot);
  }
}

void load_parameters(Reader& reader, const parameters::Store& store, kernels::Device& device,
                     kernels::Ops& ops) {
  if (store.purpose() == Purpose::kTraining) require_moments(reader);
  std::vector<std::byte> host;
  for (const LocalParameter& row : store.layout().rows())
    for (const Part& part : parts_of(store, row))
      load_tensor(reader.tensor(row.info.name + part.suffix), part.tensor, reader.path(), host,
                  device);
  store.round_masters(ops);
}

}  // namespace seq1f1b::checkpoint

#include "core/parameters/store.h"

#include "kernels/common/alignment.h"
#include "kernels/common/errors.h"
#include "kernels/ops.h"

namespace seq1f1b::parameters {

using kernels::Dtype;
using kernels::Tensor;

namespace {

std::size_t padded_bytes(std::int64_t elements, Dtype dtype) {
  return kernels::aligned(static_cast<std::size_t>(elements) * kernels::dtype_bytes(dtype));
}

}  // namespace

StoreBytes store_bytes(const Layout& layout, Dtype compute, Dtype accumulate, Purpose purpose,
                       const std::optional<Range>& updated) {
  const std::int64_t held = updated.value_or(layout.whole()).count;
  StoreBytes bytes;
  bytes.weights = padded_bytes(layout.elements(), compute);
  if (purpose == Purpose::kTraining) {
    bytes.gradients = padded_bytes(layout.gradient_elements(), accumulate);
    if (compute != accumulate) bytes.masters = padded_bytes(held, accumulate);
    bytes.moments = padded_bytes(2 * held, accumulate);
  }
  return bytes;
}

Store::Store(Layout layout, Dtype compute, Dtype accumulate, Purpose purpose, std::byte* memory,
             const std::optional<Range>& updated)
    : layout_(std::move(layout)),
      compute_(compute),
      accumulate_(accumulate),
      purpose_(purpose),
      updated_(updated.value_or(layout_.whole())) {
  SEQ1F1B_ASSERT(intersection(updated_, layout_.whole()) == updated_, "elements ", updated_.first,
                 " to ", updated_.end(), " of ", layout_.elements());
  const StoreBytes bytes = store_bytes(layout_, compute, accumulate, purpose, updated_);
  weights_ = memory;
  if (purpose == Purpose::kTraining) {
    gradients_ = weights_ + bytes.weights;
    if (bytes.masters > 0) masters_ = gradients_ + bytes.gradients;
    moments_ = gradients_ + bytes.gradients + bytes.masters;
  }
}

Tensor Store::view(std::byte* base, Dtype dtype, std::int64_t offset,
                   const ParameterInfo& row) const {
  SEQ1F1B_ASSERT(base != nullptr, row.name, ": this store holds weights only");
  std::byte* data = base + static_cast<std::size_t>(offset) * kernels::dtype_bytes(dtype);
  return row.shape.size() == 1 ? Tensor(data, dtype, {row.shape[0]})
                               : Tensor(data, dtype, {row.shape[0], row.shape[1]});
}

Tensor Store::view(std::byte* base, Dtype dtype, std::int64_t offset, const Piece& piece) const {
  const ParameterInfo& info = row_of(piece).info;
  SEQ1F1B_ASSERT(
      piece.first >= 0 && piece.count > 0 && piece.first + piece.count <= info.elements(),
      info.name, ": ", piece.count, " elements from ", piece.first);
  Tensor whole = view(base, dtype, offset, info);
  return piece.count == info.elements() ? whole : Tensor(whole.data, dtype, {piece.count});
}

std::int64_t Store::held(std::int64_t element, std::int64_t count) const {
  SEQ1F1B_ASSERT(element >= updated_.first && element + count <= updated_.end(), count,
                 " elements from ", element, " are not updated here");
  return element - updated_.first;
}

Tensor Store::weight(const LocalParameter& row) const {
  return view(weights_, compute_, row.offset, row.info);
}
Tensor Store::master(const LocalParameter& row) const {
  return masters_ ? view(masters_, accumulate_, held(row.offset, row.info.elements()), row.info)
                  : Tensor{};
}
Tensor Store::parameter(const LocalParameter& row) const {
  return masters_ ? master(row) : weight(row);
}
Tensor Store::gradient(const LocalParameter& row, std::size_t use) const {
  return view(gradients_, accumulate_, row.gradient_offsets.at(use), row.info);
}
Tensor Store::first_moment(const LocalParameter& row) const {
  return view(moments_, accumulate_, held(row.offset, row.info.elements()), row.info);
}
Tensor Store::second_moment(const LocalParameter& row) const {
  return view(moments_, accumulate_, updated_.count + held(row.offset, row.info.elements()),
              row.info);
}

Tensor Store::weight(const Piece& piece) const {
  return view(weights_, compute_, row_of(piece).offset + piece.first, piece);
}
Tensor Store::master(const Piece& piece) const {
  if (!masters_) return {};
  return view(masters_, accumulate_, held(row_of(piece).offset + piece.first, piece.count), piece);
}
Tensor Store::parameter(const Piece& piece) const {
  return masters_ ? master(piece) : weight(piece);
}
Tensor Store::gradient(const Piece& piece) const {
  return view(gradients_, accumulate_, row_of(piece).gradient_offsets.front() + piece.first, piece);
}
Tensor Store::first_moment(const Piece& piece) const {
  return view(moments_, accumulate_, held(row_of(piece).offset + piece.first, piece.count), piece);
}
Tensor Store::second_moment(const Piece& piece) const {
  return view(moments_, accumulate_,
              updated_.count + held(row_of(piece).offset + piece.first, piece.count), piece);
}

Tensor Store::fused(std::byte* base, Dtype dtype, std::string_view name, int rows) const {
  const LocalParameter& first = layout_.find(name);
  const auto index = static_cast<std::size_t>(&first - layout_.rows().data());
  Tensor operand = view(base, dtype, first.offset, first.info);
  for (int i = 1; i < rows; ++i) {
    const LocalParameter& next = layout_.rows()[index + static_cast<std::size_t>(i)];
    SEQ1F1B_ASSERT(next.info.fused_with_previous, next.info.name, " is not fused with ", name);
    operand.shape[0] += next.info.shape[0];
  }
  return operand;
}
Tensor Store::fused_weight(std::string_view name, int rows) const {
  return fused(weights_, compute_, name, rows);
}
Tensor Store::fused_gradient(std::string_view name, int rows) const {
  return fused(gradients_, accumulate_, name, rows);
}

Tensor Store::all_gradients() const {
  return Tensor(gradients_, accumulate_, {layout_.gradient_elements()});
}
Tensor Store::all_moments() const { return Tensor(moments_, accumulate_, {2 * updated_.count}); }

void Store::round_masters(kernels::Ops& ops) const {
  if (!masters_) return;
  std::byte* weights =
      weights_ + static_cast<std::size_t>(updated_.first) * kernels::dtype_bytes(compute_);
  ops.cast(Tensor(masters_, accumulate_, {updated_.count}),
           Tensor(weights, compute_, {updated_.count}));
}

}  // namespace seq1f1b::parameters

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

StoreBytes store_bytes(const Layout& layout, Dtype compute, Dtype accumulate, Purpose purpose) {
  StoreBytes bytes;
  bytes.weights = padded_bytes(layout.elements(), compute);
  if (purpose == Purpose::kTraining) {
    bytes.gradients = padded_bytes(layout.gradient_elements(), accumulate);
    if (compute != accumulate) bytes.masters = padded_bytes(layout.elements(), accumulate);
    bytes.moments = padded_bytes(2 * layout.elements(), accumulate);
  }
  return bytes;
}

Store::Store(Layout layout, Dtype compute, Dtype accumulate, Purpose purpose, std::byte* memory)
    : layout_(std::move(layout)), compute_(compute), accumulate_(accumulate), purpose_(purpose) {
  const StoreBytes bytes = store_bytes(layout_, compute, accumulate, purpose);
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

Tensor Store::weight(const LocalParameter& row) const {
  return view(weights_, compute_, row.offset, row.info);
}
Tensor Store::master(const LocalParameter& row) const {
  return masters_ ? view(masters_, accumulate_, row.offset, row.info) : Tensor{};
}
Tensor Store::parameter(const LocalParameter& row) const {
  return masters_ ? master(row) : weight(row);
}
Tensor Store::gradient(const LocalParameter& row, std::size_t use) const {
  return view(gradients_, accumulate_, row.gradient_offsets.at(use), row.info);
}
Tensor Store::first_moment(const LocalParameter& row) const {
  return view(moments_, accumulate_, row.offset, row.info);
}
Tensor Store::second_moment(const LocalParameter& row) const {
  return view(moments_, accumulate_, layout_.elements() + row.offset, row.info);
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
Tensor Store::all_moments() const {
  return Tensor(moments_, accumulate_, {2 * layout_.elements()});
}

void Store::round_masters(kernels::Ops& ops) const {
  if (!masters_) return;
  ops.cast(Tensor(masters_, accumulate_, {layout_.elements()}),
           Tensor(weights_, compute_, {layout_.elements()}));
}

}  // namespace seq1f1b::parameters

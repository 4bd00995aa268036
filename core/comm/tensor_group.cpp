#include "core/comm/tensor_group.h"

#include <algorithm>

#include "kernels/common/errors.h"

namespace seq1f1b::comm {

using kernels::Dtype;
using kernels::Tensor;

namespace {

// Some elements of a contiguous tensor.
Tensor part(const Tensor& values, std::int64_t first, std::int64_t elements) {
  const auto offset = static_cast<std::size_t>(first) * kernels::dtype_bytes(values.dtype);
  return {values.as<std::byte>() + offset, values.dtype, {elements}};
}

}  // namespace

Tensor TensorGroup::shard(const Tensor& values) const {
  SEQ1F1B_ASSERT(values.elements() % size_ == 0, kernels::describe(values),
                 " does not divide into ", size_, " equal shards");
  const std::int64_t elements = values.elements() / size_;
  return part(values, rank_ * elements, elements);
}

TensorGroup::Ticket TensorGroup::start_all_reduce_sum(const Tensor& values, const Describe& what) {
  return start(Kind::kAllReduceSum, values, what);
}

TensorGroup::Ticket TensorGroup::start_reduce_scatter_sum(const Tensor& values,
                                                          const Describe& what) {
  return start(Kind::kReduceScatterSum, values, what);
}

TensorGroup::Ticket TensorGroup::start_all_gather(const Tensor& values, const Describe& what) {
  return start(Kind::kAllGather, values, what);
}

TensorGroup::Ticket TensorGroup::start(Kind kind, const Tensor& values, const Describe& what) {
  SEQ1F1B_ASSERT(size_ == 1 || bytes_in_flight_ + aligned(values.bytes()) <= in_flight_bytes_,
                 kernels::describe(values), " beside ", bytes_in_flight_,
                 " bytes in flight, in a group made for ", in_flight_bytes_);
  return start_unbounded(kind, values, what);
}

TensorGroup::Ticket TensorGroup::start_unbounded(Kind kind, const Tensor& values,
                                                 const Describe& what) {
  SEQ1F1B_ASSERT(
      values.dtype == Dtype::kF32 || values.dtype == Dtype::kF64 || values.dtype == Dtype::kBf16,
      "a collective over ", kernels::describe(values));
  if (kind != Kind::kAllReduceSum) shard(values);
  const std::uint64_t number = started_ + 1;
  if (size_ > 1 && values.elements() > 0) {
    begin({kind, values}, what);
    in_flight_.push_back({number, aligned(values.bytes())});
    bytes_in_flight_ += in_flight_.back().bytes;
  }
  started_ = number;
  return Ticket{number};
}

void TensorGroup::wait(Ticket ticket, const Describe& what) {
  const auto number = static_cast<std::uint64_t>(ticket);
  SEQ1F1B_ASSERT(number > 0 && number <= started_, "wait for collective ", number, " of ",
                 started_);
  while (!in_flight_.empty() && in_flight_.front().number <= number) {
    finish_oldest(what);
    bytes_in_flight_ -= in_flight_.front().bytes;
    in_flight_.pop_front();
  }
}

void TensorGroup::all_reduce_sum(const Tensor& values, const Describe& what) {
  if (started_ > 0) wait(Ticket{started_}, what);
  const auto longest =
      static_cast<std::int64_t>(longest_sum_bytes() / kernels::dtype_bytes(values.dtype));
  std::int64_t first = 0;
  do {
    const std::int64_t elements = std::min(longest, values.elements() - first);
    wait(start_unbounded(Kind::kAllReduceSum, part(values, first, elements), what), what);
    first += elements;
  } while (first < values.elements());
}

}  // namespace seq1f1b::comm

#pragma once
// Views into tensors of a Run that begin where no allocation would.
#include "tests/kernels/bench.h"

namespace seq1f1b::kernels::testing {

// The elements of `tensor` from number `first` on, in this shape.
inline Tensor view_from(const Tensor& tensor, std::int64_t first, Dims dims) {
  const auto width = static_cast<std::int64_t>(dtype_bytes(tensor.dtype));
  return Tensor(tensor.as<std::byte>() + first * width, tensor.dtype, dims);
}

}  // namespace seq1f1b::kernels::testing

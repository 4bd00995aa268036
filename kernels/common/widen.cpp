#include "kernels/common/widen.h"

#include <algorithm>

#include "kernels/common/bf16.h"

namespace seq1f1b::kernels {

void widen(Dtype dtype, const void* elements, std::span<double> values) {
  switch (dtype) {
    case Dtype::kF64:
      std::copy_n(static_cast<const double*>(elements), values.size(), values.begin());
      return;
    case Dtype::kF32:
      std::copy_n(static_cast<const float*>(elements), values.size(), values.begin());
      return;
    case Dtype::kBf16: {
      const auto* narrow = static_cast<const Bf16*>(elements);
      std::transform(narrow, narrow + values.size(), values.begin(),
                     [](Bf16 value) { return static_cast<double>(static_cast<float>(value)); });
      return;
    }
    case Dtype::kI32:
      break;
  }
  throw InternalError(concat("widen: ", dtype_name(dtype), " is no floating-point type"));
}

}  // namespace seq1f1b::kernels

#pragma once
#include <span>

#include "kernels/common/tensor.h"

namespace seq1f1b::kernels {

// The values of floating-point elements in host memory, `values.size()` of them. Exact.
void widen(Dtype dtype, const void* elements, std::span<double> values);

}  // namespace seq1f1b::kernels

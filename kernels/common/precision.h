#pragma once
#include "kernels/common/tensor.h"

namespace seq1f1b::kernels {

// The two types that a back end computes in; see the common rules of ops.h.
struct Precision {
  Dtype compute = Dtype::kF32;
  Dtype accumulate = Dtype::kF32;
};

}  // namespace seq1f1b::kernels

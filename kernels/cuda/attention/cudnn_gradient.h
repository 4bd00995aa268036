#pragma once
#include "kernels/cuda/context.h"
#include "kernels/ops.h"

namespace seq1f1b::kernels::cuda {

// Rows [0, rows) of each plane of `accumulator`, fp32 [planes..., capacity, head_dim], become or
// are added those of `contribution`, bf16 [planes * rows * head_dim].
void take_carry_gradient(Context& context, const void* contribution, std::int64_t rows,
                         const Tensor& accumulator, Accumulate mode);

}  // namespace seq1f1b::kernels::cuda

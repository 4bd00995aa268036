#pragma once
#include <functional>
#include <memory>

#include "kernels/cuda/attention/attention_library.h"
#include "kernels/cuda/context.h"
#include "kernels/ops.h"

namespace seq1f1b::kernels::cuda {

// The operations on context.stream, every argument but the values in device memory checked.
// `compute` is kBf16 or kF32; both accumulate in fp32. Every operation begins with empty scratch,
// which use_scratch gives; scratch_bytes (scratch.h) says how much.
//
// Against the common rules of ops.h in one point: the library of matrix products chooses by shape,
// so that a row's bits may depend on how many rows the call has.
std::unique_ptr<Ops> make_cuda_ops(const Context& context, Dtype compute,
                                   AttentionSetup attention = {},
                                   std::function<std::size_t()> library_bytes = {});

}  // namespace seq1f1b::kernels::cuda

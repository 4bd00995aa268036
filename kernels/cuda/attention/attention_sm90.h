#pragma once
// Attention for Hopper: wgmma and TMA, warp-specialised. Each function returns whether it serves
// the problem; if not, it has done nothing, and the kernels of compute capability 8.0 take it.
//
// Served: bf16 on sm_90a; head dimensions divisible by 8 up to 128, forward up to 256 (instances in
// attention_tuning.h; others run padded to the next one, by boxes that read zeros beyond the
// tensor); tensors aligned to 16 bytes; scale > 0; documents too.
#include "kernels/cuda/attention/attention.h"
#include "kernels/cuda/attention/scratch_attention.h"

namespace seq1f1b::kernels::cuda {

// Whether attention.cpp asks these kernels first. They agree with the fp64 reference on the
// emulator of kernels/simt (tests/kernels/cuda/attention_sm90_test.cpp), which knows nothing of
// speed; their machine code is described in benchmarks/cuda_kernels_static.md. None has run on a
// GPU yet.
inline constexpr bool kUseSm90 = true;

bool attention_sm90_forward(Context& context, const AttentionForward& operands);

// Takes attention_sm90_scratch_bytes from context.scratch. context.deterministic: two kernels, over
// key blocks for grad_key and grad_value and over query blocks for grad_query, seven products. Else
// one kernel, five products, which adds grad_query in fp32 in any order.
bool attention_sm90_backward(Context& context, const AttentionBackward& operands);

}  // namespace seq1f1b::kernels::cuda

#pragma once
// Hopper's kernels or those of compute capability 8.0, where both serve a problem: by reasoning.
#include "kernels/cuda/attention/attention_sm80.h"
#include "kernels/cuda/attention/scratch_attention.h"

namespace seq1f1b::kernels::cuda {

// Which head dimensions pay. Both have instances of 64, 80, 96, 128 and 256 columns. Nothing here
// was measured by us; the long causal forward of FlashAttention 2 and 3, the same two techniques,
// on an H100 (charts of its repository, fp16, TFLOP/s) says 299 and 473 at 64 columns, 335 and 616
// at 128, and in between 308 and 509 at 80, 317 and 545 at 96 by interpolation: 1.6 to 1.85 times
// as fast. At 256 columns a warp on mma.sync has registers for 16 rows only, and is bound by shared
// memory at half the tensor cores' rate (attention_tuning.h), which wgmma is not.
// So Hopper's take all of them. With few queries and many keys the other forward can share a tile's
// keys among blocks, and this one cannot; it leaves idle what has no tile. From three parts a tile
// on, more multiprocessors outweigh the faster ones and the pass that merges the parts.
inline constexpr int kPartsThatOutweighSm90 = 3;
inline bool prefer_sm90_forward(const AttentionShape& shape, int multiprocessors) {
  return shape.head_dim <= kSm90MaxForwardHeadDim &&
         sm80_forward_splits(shape, multiprocessors) < kPartsThatOutweighSm90;
}

}  // namespace seq1f1b::kernels::cuda

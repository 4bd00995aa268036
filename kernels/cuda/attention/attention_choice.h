#pragma once
// Hopper's kernels or those of compute capability 8.0, where both serve a problem: by reasoning.
#include "kernels/cuda/attention/attention_sm80.h"
#include "kernels/cuda/attention/attention_sm90_scratch.h"

namespace seq1f1b::kernels::cuda {

// Which head dimensions pay. Hopper's instances are 64 and 128 columns wide, those of compute
// capability 8.0 64, 80, 96 and 128. Nothing here was measured by us; the long causal forward of
// FlashAttention 2 and 3, the same two techniques, on an H100 (charts of its repository, fp16,
// TFLOP/s) says 299 and 473 at 64 columns, 335 and 616 at 128, and in between 308 and 317 by
// interpolation for 2. Columns multiplied, over that rate:
//   head_dim    mma.sync         wgmma            wgmma is faster by
//   up to 64     64 / 299         64 / 473        1.6
//   up to 80     80 / 308        128 / 616        1.25
//   up to 96     96 / 317        128 / 616        1.45
//   up to 128   128 / 335        128 / 616        1.85
// So Hopper's take all of them, although a quarter of the columns is padding at 96 and three
// eighths at 80. With few queries and many keys the other forward can share a tile's keys among
// blocks, and this one cannot; it leaves idle what has no tile. From three parts a tile on, more
// multiprocessors outweigh the faster ones and the pass that merges the parts.
inline constexpr int kPartsThatOutweighSm90 = 3;
inline bool prefer_sm90_forward(const AttentionShape& shape, int multiprocessors) {
  return shape.head_dim <= kSm90MaxHeadDim &&
         sm80_forward_splits(shape, multiprocessors) < kPartsThatOutweighSm90;
}

}  // namespace seq1f1b::kernels::cuda

#pragma once
// Scratch memory of the CUDA operations: how much the largest of them needs, as plain host code, so
// that the memory plan is exact without a GPU. Every launcher takes what it needs from its
// Context's scratch, which is empty again for the next operation, by the same formulas.
#include <cstddef>
#include <cstdint>

namespace seq1f1b::kernels::cuda {

// The largest operands that a program will ever pass.
struct ScratchShape {
  std::int64_t micro_batch = 1;
  std::int64_t tokens = 0;      // of the longest segment, per sequence
  std::int64_t seq_length = 0;  // keys
  std::int64_t hidden = 0, ffn_in = 0, vocab = 0;
  std::int64_t heads = 0, kv_heads = 0, head_dim = 0;
  std::int64_t logit_rows = 0;      // of one chunk of the head; 0 where there is none
  std::int64_t largest_tensor = 0;  // elements of the largest gradient
  bool fp32 = false;                // compute type; else bf16
  bool deterministic = true;
  bool own_attention = true, cudnn = false;  // whose kernels may compute attention
};

std::size_t scratch_bytes(const ScratchShape& shape);

// An estimate of what cuDNN's deterministic backward of attention takes beside the plan for one
// segment: two bytes per pair of query and key, as read in the sources of NVIDIA's cudnn-frontend
// (node/scaled_dot_product_flash_attention.h); not measured.
constexpr std::size_t cudnn_workspace_estimate(const ScratchShape& shape, std::int64_t tokens,
                                               std::int64_t keys) {
  return shape.deterministic
             ? static_cast<std::size_t>(shape.micro_batch * shape.heads * tokens * keys) * 2
             : 0;
}

}  // namespace seq1f1b::kernels::cuda

#pragma once
// Scratch of the products of a linear layer but bias_grad's, which comes after (bias.cu).
#include <algorithm>

#include "kernels/cuda/scratch.h"

namespace seq1f1b::kernels::cuda {

// Taken by every product. NVIDIA recommends 32 MiB for compute capability 9.0 (cuBLAS manual,
// "cublasSetWorkspace"); the same everywhere, so that the plan knows it.
inline constexpr std::size_t kGemmWorkspaceBytes = std::size_t{32} << 20;

// The workspace, and a bias gradient that an epilogue may leave: as wide as the widest layer.
inline std::size_t linear_scratch(const ScratchShape& shape) {
  const std::int64_t projected = (shape.heads + 2 * shape.kv_heads) * shape.head_dim;
  const std::int64_t widest = std::max({shape.hidden, shape.ffn_in, shape.vocab, projected});
  return kGemmWorkspaceBytes + (static_cast<std::size_t>(widest) * sizeof(float) + 255) / 256 * 256;
}

}  // namespace seq1f1b::kernels::cuda

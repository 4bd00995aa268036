#pragma once
// Descriptions of tensors in global memory for the tensor memory accelerator, made on the host.
#include <array>
#include <cstdint>

#ifndef SEQ1F1B_SIMT
#include <cuda.h>
#endif

namespace seq1f1b::kernels::cuda {

// A 4-D bf16 tensor, first dimension fastest and dense, and the box that one copy moves: in shared
// memory rows of 128 bytes under the 128-byte swizzle, so box[0] is 64.
struct TensorMapShape {
  std::array<std::uint64_t, 4> extent;  // elements; what lies beyond reads as zero, is not written
  std::array<std::uint64_t, 3> stride;  // elements from one index of dimension 1, 2, 3 to the next
  std::array<std::uint32_t, 4> box;     // elements, each at most 256
};

// What a kernel takes, as a __grid_constant__ parameter, and hands to tma_load_4d, tma_store_4d.
#ifdef SEQ1F1B_SIMT
struct TensorMap {
  void* base;
  TensorMapShape shape;
};
#else
using TensorMap = CUtensorMap;
#endif

// Whether TMA can address it: base and strides divisible by 16 bytes, strides below 2^40 bytes,
// extents from 1 to 2^32 (CUDA driver API, cuTensorMapEncodeTiled).
bool tensor_map_serves(const void* base, const TensorMapShape& shape);

// Throws Error when the driver refuses, InternalError for a tensor or box that it would. Reads no
// device memory: cheap enough for every call.
TensorMap make_tensor_map(const void* base, const TensorMapShape& shape);

}  // namespace seq1f1b::kernels::cuda

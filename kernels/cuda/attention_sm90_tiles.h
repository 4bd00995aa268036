#pragma once
// What the Hopper attention kernels share: tiles in shared memory, their products, and the ring of
// buffers between the warp that loads and the warp groups that compute.
//
// A tile of R rows and D columns is D / 64 panels of R rows of 128 bytes (ptx_sm90.h). Head
// dimensions below D read zeros in the missing columns, rows beyond the tensor are zeros too: rows
// beyond key_length may hold anything in memory, and the maps end before them.
#include "kernels/cuda/attention.h"
#include "kernels/cuda/device/language.h"
#include "kernels/cuda/device/ptx_sm90.h"
#include "kernels/cuda/tensor_map.h"

namespace seq1f1b::kernels::cuda::sm90 {

inline constexpr int kGroup = 128;     // threads of a warp group
inline constexpr int kGroupRows = 64;  // rows of a product by one warp group
inline constexpr int kPanelWidth = 64, kRowBytes = 128;
inline constexpr int kBarrierBytes = 8;
inline constexpr float kLog2E = 1.4426950408889634f, kLn2 = 0.6931471805599453f;

constexpr int tile_bytes(int rows, int columns) { return rows * columns * 2; }

// ---- host: the maps of one problem
// ----------------------------------------------------------------

// [micro_batch, tokens, heads, head_dim]; the box is one panel of `rows` tokens of one head, at
// coordinates (column, head, token, batch).
inline TensorMapShape query_map_shape(const AttentionShape& s, int rows) {
  const std::uint64_t d = s.head_dim, heads = s.heads, tokens = s.tokens;
  return {{d, heads, tokens, static_cast<std::uint64_t>(s.micro_batch)},
          {d, heads * d, tokens * heads * d},
          {kPanelWidth, 1, static_cast<std::uint32_t>(rows), 1}};
}
// [micro_batch, kv_heads, capacity, head_dim], ending at key_length; coordinates (column, row,
// head, batch).
inline TensorMapShape key_map_shape(const AttentionShape& s, int rows) {
  const std::uint64_t d = s.head_dim, heads = s.kv_heads, capacity = s.capacity;
  return {{d, static_cast<std::uint64_t>(s.key_length), heads,
           static_cast<std::uint64_t>(s.micro_batch)},
          {d, capacity * d, heads * capacity * d},
          {kPanelWidth, static_cast<std::uint32_t>(rows), 1, 1}};
}
inline bool serves(const Context& context, const AttentionShape& s) {
  return context.architecture == 90 && s.head_dim % 8 == 0 && s.head_dim <= 128 && s.scale > 0;
}

// ---- device
// ---------------------------------------------------------------------------------------

// What a kernel needs of AttentionShape.
struct Problem {
  int tokens, heads, group, head_dim, capacity, key_length;  // group: query heads per key head
  int query_start, key_start;
  const std::int32_t* document_start;
  float scale;

  // One past the last key row that query row i sees, and the first; neither decreases with i.
  __device__ __forceinline__ int keys_end(int i) const {
    return min(key_length, query_start + i + 1 - key_start);
  }
  __device__ __forceinline__ int keys_begin(int batch, int i) const {
    return document_start ? max(document_start[batch * tokens + i] - key_start, 0) : 0;
  }
};
inline Problem problem_of(const AttentionShape& s) {
  return {s.tokens,     s.heads,       s.heads / s.kv_heads, s.head_dim,       s.capacity,
          s.key_length, s.query_start, s.key_start,          s.document_start, s.scale};
}

// A place in a ring of kStages buffers and how often it has gone round.
template <int kStages>
struct RingPlace {
  int stage = 0, parity = 0;
  __device__ __forceinline__ void advance() {
    if (++stage == kStages) stage = 0, parity ^= 1;
  }
};

// A descriptor `bytes` further on.
__device__ __forceinline__ std::uint64_t moved(std::uint64_t descriptor, int bytes) {
  return descriptor + static_cast<std::uint64_t>(bytes / 16);
}

// s = a b^T over kDepth columns: a 64 rows of a tile with kRowsA rows, b kRowsB rows, whole tile.
template <int kDepth, int kRowsA, int kRowsB>
__device__ __forceinline__ void product_abt(float (&s)[kRowsB / 2], std::uint64_t a,
                                            std::uint64_t b) {
#pragma unroll
  for (int k = 0; k < kDepth / 16; ++k) {
    const int panel = k / 4, step = k % 4 * 32;
    const auto a_k = moved(a, panel * kRowsA * kRowBytes + step);
    const auto b_k = moved(b, panel * kRowsB * kRowBytes + step);
    if (k == 0)
      wgmma_ss<kRowsB, Along::kInner, Along::kInner, false>(s, a_k, b_k);
    else
      wgmma_ss<kRowsB, Along::kInner, Along::kInner, true>(s, a_k, b_k);
  }
}
// o += a b: a 64 x kDepth in registers, b a tile of kDepth rows and kColumns columns.
template <int kDepth, int kColumns>
__device__ __forceinline__ void add_product_ab(float (&o)[kColumns / 2],
                                               const std::uint32_t (&a)[kDepth / 4],
                                               std::uint64_t b) {
#pragma unroll
  for (int k = 0; k < kDepth / 16; ++k)
    wgmma_rs<kColumns, Along::kOuter, true>(o, a + 4 * k, moved(b, k * 16 * kRowBytes));
}

// A product's registers as the next one's operand.
template <int kCount>
__device__ __forceinline__ void pack(std::uint32_t (&packed)[kCount / 2],
                                     const float (&values)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount / 2; ++i) packed[i] = pack_bf16(values[2 * i], values[2 * i + 1]);
}

// Sum and maximum over the four lanes that hold one row of a product.
__device__ __forceinline__ float row_sum(float x) {
  x += __shfl_xor_sync(~0u, x, 1);
  return x + __shfl_xor_sync(~0u, x, 2);
}
__device__ __forceinline__ float row_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
  return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}

// Where the pair of columns 8 j + 2 t, + 1 of row `row` lies in a tile of kRows rows, in bytes.
template <int kRows>
__device__ __forceinline__ int pair_offset(int row, int j, int t) {
  return j / 8 * kRows * kRowBytes + row * kRowBytes + ((j % 8) ^ (row % 8)) * 16 + t * 4;
}

}  // namespace seq1f1b::kernels::cuda::sm90

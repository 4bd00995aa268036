#pragma once
// What the Hopper attention kernels share: tiles in global and shared memory, and their products.
//
// A tile of R rows and D columns is ceil(D / 64) panels of R rows of 128 bytes (ptx_sm90.h), the
// last one perhaps used in part: products take D columns, and neither more of the inner dimension
// nor more of the output. Head dimensions below D read zeros in the missing columns, rows beyond
// the tensor are zeros too: rows beyond key_length may hold anything in memory, and the maps end
// before them.
#include <algorithm>
#include <cstdint>
#include <utility>

#include "kernels/cuda/attention/attention.h"
#include "kernels/cuda/attention/attention_mask.h"
#include "kernels/cuda/attention/attention_tuning.h"
#include "kernels/cuda/attention/scratch_attention.h"
#include "kernels/cuda/attention/tensor_map.h"
#include "kernels/cuda/device_code/language.h"
#include "kernels/cuda/device_code/ptx_sm90.h"

namespace seq1f1b::kernels::cuda::sm90 {

inline constexpr int kGroup = 128;     // threads of a warp group
inline constexpr int kGroupRows = 64;  // rows of a product by one warp group
inline constexpr int kPanelWidth = 64, kRowBytes = 128;
inline constexpr int kQueryBox = kGroupRows;  // rows of query_map_shape's box
inline constexpr int kBarrierBytes = 8;
inline constexpr float kLog2E = 1.4426950408889634f, kLn2 = 0.6931471805599453f;

constexpr int panels_of(int columns) { return (columns + kPanelWidth - 1) / kPanelWidth; }
constexpr int tile_bytes(int rows, int columns) { return panels_of(columns) * rows * kRowBytes; }

// ---- Host: the maps of one problem ----

// [micro_batch, tokens, heads, head_dim]; the box is one panel of kQueryBox tokens of one head, at
// coordinates (column, head, token, batch).
inline TensorMapShape query_map_shape(const AttentionShape& s) {
  const std::uint64_t d = s.head_dim, heads = s.heads, tokens = s.tokens;
  return {{d, heads, tokens, static_cast<std::uint64_t>(s.micro_batch)},
          {d, heads * d, tokens * heads * d},
          {kPanelWidth, 1, kQueryBox, 1}};
}
// [micro_batch, kv_heads, capacity, head_dim], ending at key_length; the box is one panel of `rows`
// rows of one head, at coordinates (column, row, head, batch).
inline TensorMapShape key_map_shape(const AttentionShape& s, int rows) {
  const std::uint64_t d = s.head_dim, heads = s.kv_heads, capacity = s.capacity;
  return {{d, static_cast<std::uint64_t>(s.key_length), heads,
           static_cast<std::uint64_t>(s.micro_batch)},
          {d, capacity * d, heads * capacity * d},
          {kPanelWidth, static_cast<std::uint32_t>(rows), 1, 1}};
}
inline bool serves(const Context& context, const AttentionShape& s, std::int64_t most_head_dim) {
  return context.architecture == 90 && s.head_dim % 8 == 0 && s.head_dim <= most_head_dim &&
         s.scale > 0;
}
// run(std::integral_constant<int, dimension>) for the first of the instances' head dimensions,
// which increase, that holds head_dim.
template <int kDim, int... kMore, class Run>
auto for_dim(std::integer_sequence<int, kDim, kMore...>, int head_dim, Run&& run) {
  if constexpr (sizeof...(kMore) > 0)
    if (head_dim > kDim) return for_dim(std::integer_sequence<int, kMore...>{}, head_dim, run);
  return run(std::integral_constant<int, kDim>{});
}
inline bool maps_serve(const TensorMapShape& shape, std::initializer_list<const void*> tensors) {
  return std::all_of(tensors.begin(), tensors.end(),
                     [&](const void* tensor) { return tensor_map_serves(tensor, shape); });
}

// ---- Device ----

// The work of one block: tile `tile` of row `row` (batch and head). Blocks run roughly in the order
// of their numbers, so: the rows of a section, whose loaded tensors share the L2 cache, before the
// next ones, and within a section all rows' tile 0, then 1, ...
struct Work {
  int row, tile;
  __device__ __forceinline__ Work(int block, int rows, int tiles, int section) {
    const int first = block / (section * tiles) * section, width = min(section, rows - first);
    const int within = block - first * tiles;
    row = first + within % width;
    tile = within / width;
  }
};
// How many of `rows` may share the L2 cache, 50 MB on Hopper, of which each half of the chip has
// its own copy of what it reads: 24 MiB.
inline int rows_per_section(int rows, std::int64_t bytes_per_row) {
  constexpr std::int64_t kBytes = std::int64_t{24} << 20;
  // A query head's share of few keys may be less than a byte.
  const std::int64_t most = kBytes / std::max<std::int64_t>(bytes_per_row, 1);
  return static_cast<int>(std::clamp<std::int64_t>(most, 1, rows));
}

// One thread: loads a tile of query_map_shape's tensor, kQueryBox rows at a time, at `head` and
// `first` row of sequence `batch`.
template <int kRows, int kDim>
__device__ __forceinline__ void load_query_tile(std::uint32_t tile, const TensorMap* map, int head,
                                                int first, int batch, std::uint32_t barrier) {
#pragma unroll
  for (int panel = 0; panel < panels_of(kDim); ++panel)
#pragma unroll
    for (int r = 0; r < kRows; r += kQueryBox)
      tma_load_4d(tile + (panel * kRows + r) * kRowBytes, map, panel * kPanelWidth, head, first + r,
                  batch, barrier);
}
// The same of key_map_shape's tensor, whose box has kRows rows. Panels begin kStep columns apart:
// less than their width where a column shall begin one.
template <int kRows, int kDim, int kStep = kPanelWidth>
__device__ __forceinline__ void load_key_tile(std::uint32_t tile, const TensorMap* map, int head,
                                              int first, int batch, std::uint32_t barrier) {
#pragma unroll
  for (int panel = 0; panel < panels_of(kDim); ++panel)
    tma_load_4d(tile + panel * kRows * kRowBytes, map, panel * kStep, first, head, batch, barrier);
}

// A descriptor `bytes` further on.
__device__ __forceinline__ std::uint64_t moved(std::uint64_t descriptor, int bytes) {
  return descriptor + static_cast<std::uint64_t>(bytes / 16);
}

// s = a b^T over kDepth columns: a 64 rows of a tile with kRowsA rows, whose panels begin kStepA
// columns apart, b kRowsB rows, whole tile.
template <int kDepth, int kRowsA, int kRowsB, int kStepA = kPanelWidth>
__device__ __forceinline__ void product_abt(float (&s)[kRowsB / 2], std::uint64_t a,
                                            std::uint64_t b) {
  static_assert(kDepth % 16 == 0 && kStepA % 16 == 0);
  constexpr int kStepsA = kStepA / 16, kStepsB = kPanelWidth / 16;
#pragma unroll
  for (int k = 0; k < kDepth / 16; ++k) {
    const auto a_k = moved(a, k / kStepsA * kRowsA * kRowBytes + k % kStepsA * 32);
    const auto b_k = moved(b, k / kStepsB * kRowsB * kRowBytes + k % kStepsB * 32);
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

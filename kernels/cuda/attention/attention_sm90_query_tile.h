#pragma once
// What Hopper's kernels that walk the keys of a tile of queries share: the forward, and the
// backward over queries. Device code only.
#include <cmath>
#include <cstdint>

#include "kernels/cuda/attention/attention_mask.h"
#include "kernels/cuda/attention/attention_sm90_tiles.h"
#include "kernels/cuda/device_code/language.h"
#include "kernels/cuda/device_code/ptx_sm90.h"

namespace seq1f1b::kernels::cuda::sm90 {

// The query tile of a block, longest first, and its blocks of kKeys keys.
template <int kQueries, int kKeys>
struct QueryTile {
  int row, batch, head, kv_head, first_query;
  AttentionMask mask;
  TileRange keys;

  __device__ __forceinline__ QueryTile(const AttentionShape& shape, int query_tiles,
                                       const Work& work)
      : row(work.row),
        batch(work.row / shape.heads),
        head(work.row % shape.heads),
        kv_head(head / (shape.heads / shape.kv_heads)),
        first_query((query_tiles - 1 - work.tile) * kQueries),
        mask(shape, batch),
        keys(mask.key_tiles(first_query, kQueries, kKeys)) {}
};

// The two rows of a product by a warp group that a thread has a part of, and the keys they see.
struct RowPair {
  int row[2], first_key[2];
  unsigned keys[2];

  // first_query: of the warp group's 64. Rows beyond the last token see what the last one sees.
  __device__ __forceinline__ RowPair(const AttentionMask& mask, int first_query, int thread) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      row[r] = first_query + thread / 32 * 16 + thread % 32 / 4 + 8 * r;
      first_key[r] = mask.first_key(row[r]);
      keys[r] = mask.last_key(row[r]) - first_key[r];
    }
  }
  // Scores of the keys from `key` on: those out of sight become minus infinity.
  template <int kCount>
  __device__ __forceinline__ void hide(float (&s)[kCount], int key, int t) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const int column = key + i / 4 * 8 + t * 2 + i % 2, r = i / 2 % 2;
      if (static_cast<unsigned>(column - first_key[r]) >= keys[r]) s[i] = -INFINITY;
    }
  }
};

// Warp group w: its 64 x kDim values, times `scale` of each row, rounded, to row `first` of a head
// by way of rows 64 w and following of a tile of kRows rows at the beginning of shared memory,
// which nobody else reads any more. `barrier`: of this warp group alone.
template <int kDim, int kRows>
__device__ __forceinline__ void store_query_rows(const TensorMap* map,
                                                 const float (&values)[kDim / 2],
                                                 const float (&scale)[2], int w, int barrier,
                                                 int head, int first, int batch,
                                                 std::uint32_t shared,
                                                 unsigned char* shared_bytes) {
  const int thread = threadIdx.x % kGroup,
            row = w * kGroupRows + thread / 32 * 16 + thread % 32 / 4;
  // A warp's wait is for its own part of a product; the manual does not say which rows the others
  // still read.
  barrier_sync(barrier, kGroup);
#pragma unroll
  for (int r = 0; r < 2; ++r)
#pragma unroll
    for (int j = 0; j < kDim / 8; ++j)
      *reinterpret_cast<std::uint32_t*>(shared_bytes +
                                        pair_offset<kRows>(row + 8 * r, j, thread % 4)) =
          pack_bf16(values[4 * j + 2 * r] * scale[r], values[4 * j + 2 * r + 1] * scale[r]);
  fence_proxy_async();
  barrier_sync(barrier, kGroup);
  if (thread == 0) {
#pragma unroll
    for (int panel = 0; panel < panels_of(kDim); ++panel)
      tma_store_4d(map, panel * kPanelWidth, head, first, batch,
                   shared + (panel * kRows + w * kGroupRows) * kRowBytes);
    bulk_commit();
    bulk_wait_read<0>();
  }
}

}  // namespace seq1f1b::kernels::cuda::sm90

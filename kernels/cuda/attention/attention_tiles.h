#pragma once
// Tiles of bf16 in shared memory and their products on tensor cores, for the attention kernels on
// mma.sync. Device code only.
//
// A tile has kColumns columns (a multiple of 16) in chunks of 16 bytes. Rows follow each other
// without gaps, and a row's chunks are swapped by its number such that the eight rows of one 8x8
// matrix, same column, lie in different banks: ldmatrix and row-wise stores then run without
// conflicts.
#include "kernels/common/bf16.h"
#include "kernels/cuda/device_code/language.h"
#include "kernels/cuda/device_code/ptx.h"

namespace seq1f1b::kernels::cuda {

template <int kColumns>
struct Tile {
  static_assert(kColumns % 16 == 0);
  static constexpr int kChunks = kColumns / 8;
  static constexpr int kRowBytes = kColumns * 2;
  // Eight chunks fill the banks. A row begins kChunks % 8 chunks further than the one before: rows
  // already differ by the multiples of that within eight, and the swap makes up for the rest.
  static constexpr int kSwaps = kChunks % 8 == 0 ? 8 : kChunks % 4 == 0 ? 4 : 2;
  static constexpr int kRowsPerSwap = 8 / kSwaps;

  static constexpr int bytes(int rows) { return rows * kRowBytes; }
  // Of the chunk's first byte from the tile's.
  __device__ static __forceinline__ int offset(int row, int chunk) {
    return row * kRowBytes + (chunk ^ ((row / kRowsPerSwap) % kSwaps)) * 16;
  }
};

// Begins to load rows [0, rows) of a tile of kRows; the rest of the tile and the columns from
// head_dim on become zeros and are not read. All threads of the block take part. As many lanes take
// a row as chunks are swapped, so that from piece to piece only constants change.
template <int kColumns, int kRows, int kThreads>
__device__ __forceinline__ void load_tile(std::uint32_t shared, const Bf16* global,
                                          std::int64_t stride, int rows, int head_dim) {
  constexpr int kLanes = Tile<kColumns>::kSwaps, kRowsAtOnce = kThreads / kLanes;
  static_assert(Tile<kColumns>::kChunks % kLanes == 0 && kRowsAtOnce % 8 == 0);
  const int row = static_cast<int>(threadIdx.x) / kLanes;
  const int chunk = static_cast<int>(threadIdx.x) % kLanes;
  const std::uint32_t to = shared + static_cast<std::uint32_t>(Tile<kColumns>::offset(row, chunk));
  const Bf16* from = global + row * stride + chunk * 8;
#pragma unroll
  for (int r = 0; r < kRows; r += kRowsAtOnce) {
    if (kRows - r < kRowsAtOnce && row >= kRows - r) break;
#pragma unroll
    for (int c = 0; c < Tile<kColumns>::kChunks; c += kLanes) {
      const bool valid = r + row < rows && (c + chunk) * 8 < head_dim;
      cp_async_16(to + static_cast<std::uint32_t>(Tile<kColumns>::bytes(r) + c * 16), from + c * 8,
                  valid);
    }
    from += kRowsAtOnce * stride;
  }
}

// Where a lane points ldmatrix in a 16x16 block, of which it gets four 8x8 matrices (ptx.h).
struct LaneRow {
  int row, chunk;
};
// Matrices in their own order: the left operand of a product along the columns, and, transposed on
// the way, the right operand of a product along the rows.
__device__ __forceinline__ LaneRow lane_row_left() {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  return {lane % 16, lane / 16};
}
// The two off-diagonal matrices exchanged: the right operand of a product along the columns, and,
// transposed on the way, the left operand of a product along the rows.
__device__ __forceinline__ LaneRow lane_row_right() {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  return {lane / 16 * 8 + lane % 8, lane / 8 % 2};
}

// The addresses of a lane for all blocks of a row of blocks, kept in few registers: the chunks
// 2 k + c of block k differ from those of block 0 by the bits that the tile swaps, and by a
// constant.
template <int kColumns>
class LaneOffsets {
 public:
  __device__ static __forceinline__ LaneOffsets left(std::uint32_t base) {
    return {base, lane_row_left()};
  }
  __device__ static __forceinline__ LaneOffsets right(std::uint32_t base) {
    return {base, lane_row_right()};
  }
  // Goes to the same blocks `bytes` further, a multiple of eight rows.
  __device__ __forceinline__ void move(int bytes) {
#pragma unroll
    for (int k = 0; k < kPatterns; ++k) at_[k] += static_cast<std::uint32_t>(bytes);
  }
  // Of the block whose first row is `row`, a multiple of 16, and whose first column is 16 k.
  __device__ __forceinline__ std::uint32_t operator()(int row, int k) const {
    return at_[k % kPatterns] +
           static_cast<std::uint32_t>(Tile<kColumns>::bytes(row) + k / kPatterns * kPatterns * 32);
  }

 private:
  static constexpr int kPatterns = Tile<kColumns>::kSwaps / 2;
  __device__ __forceinline__ LaneOffsets(std::uint32_t base, LaneRow lane) {
#pragma unroll
    for (int k = 0; k < kPatterns; ++k)
      at_[k] =
          base + static_cast<std::uint32_t>(Tile<kColumns>::offset(lane.row, 2 * k + lane.chunk));
  }
  std::uint32_t at_[kPatterns];
};

template <int kM, int kN>
__device__ __forceinline__ void clear(float (&values)[kM][kN][4]) {
#pragma unroll
  for (int m = 0; m < kM; ++m)
#pragma unroll
    for (int n = 0; n < kN; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) values[m][n][e] = 0;
}

// result[16 kM x 8 kN] += left right^T, both [rows, kColumns]: left from its row left_row on, right
// from its row right_row on.
template <int kColumns, int kM, int kN>
__device__ __forceinline__ void multiply_rows(float (&result)[kM][kN][4],
                                              const LaneOffsets<kColumns>& left, int left_row,
                                              const LaneOffsets<kColumns>& right, int right_row) {
  static_assert(kN % 2 == 0);
#pragma unroll
  for (int k = 0; k < kColumns / 16; ++k) {
    std::uint32_t a[kM][4];
#pragma unroll
    for (int m = 0; m < kM; ++m) ldmatrix_x4(a[m], left(left_row + m * 16, k));
#pragma unroll
    for (int n = 0; n < kN / 2; ++n) {
      std::uint32_t b[4];
      ldmatrix_x4(b, right(right_row + n * 16, k));
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        mma_bf16_16816(result[m][2 * n], a[m], b[0], b[1]);
        mma_bf16_16816(result[m][2 * n + 1], a[m], b[2], b[3]);
      }
    }
  }
}

// result[16 kM x kColumns] += left right: left [16 kM x 8 kK] as the accumulators of a product,
// rounded to bf16 on the way; right [8 kK rows, kColumns], from its row right_row on, addressed by
// LaneOffsets::left.
template <int kColumns, int kM, int kK>
__device__ __forceinline__ void multiply_accumulators(float (&result)[kM][kColumns / 8][4],
                                                      const float (&left)[kM][kK][4],
                                                      const LaneOffsets<kColumns>& right,
                                                      int right_row) {
  static_assert(kK % 2 == 0);
#pragma unroll
  for (int k = 0; k < kK / 2; ++k) {
    // An accumulator of 16x8 has the layout of half a left operand of 16x16.
    std::uint32_t a[kM][4];
#pragma unroll
    for (int m = 0; m < kM; ++m) {
      a[m][0] = pack_bf16(left[m][2 * k][0], left[m][2 * k][1]);
      a[m][1] = pack_bf16(left[m][2 * k][2], left[m][2 * k][3]);
      a[m][2] = pack_bf16(left[m][2 * k + 1][0], left[m][2 * k + 1][1]);
      a[m][3] = pack_bf16(left[m][2 * k + 1][2], left[m][2 * k + 1][3]);
    }
#pragma unroll
    for (int n = 0; n < kColumns / 16; ++n) {
      std::uint32_t b[4];
      ldmatrix_x4_trans(b, right(right_row + k * 16, n));
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        mma_bf16_16816(result[m][2 * n], a[m], b[0], b[1]);
        mma_bf16_16816(result[m][2 * n + 1], a[m], b[2], b[3]);
      }
    }
  }
}

// Which element of a 16x8 accumulator this thread holds in [e]: row lane_row() + 8 (e / 2), column
// lane_column() + e % 2.
__device__ __forceinline__ int lane_row() { return static_cast<int>(threadIdx.x) % 32 / 4; }
__device__ __forceinline__ int lane_column() { return static_cast<int>(threadIdx.x) % 4 * 2; }

// Writes a warp's rows [16 kM x kColumns], rounded to bf16, to a tile from its row `row` on.
template <int kColumns, int kM>
__device__ __forceinline__ void store_tile(const float (&values)[kM][kColumns / 8][4],
                                           unsigned char* tile, int row) {
#pragma unroll
  for (int n = 0; n < kColumns / 8; ++n) {
    // Eight rows further the chunks are swapped alike.
    unsigned char* at = tile + Tile<kColumns>::offset(row + lane_row(), n) + lane_column() * 2;
#pragma unroll
    for (int m = 0; m < kM; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        *reinterpret_cast<std::uint32_t*>(at + Tile<kColumns>::bytes(m * 16 + half * 8)) =
            pack_bf16(values[m][n][2 * half], values[m][n][2 * half + 1]);
  }
}

// The same, and from there in pieces of 16 bytes to global memory: the first `rows` rows, columns
// below head_dim. The tile's rows must be this warp's own.
template <int kColumns, int kM>
__device__ __forceinline__ void store_rows(const float (&values)[kM][kColumns / 8][4],
                                           unsigned char* tile, int row, Bf16* global,
                                           std::int64_t stride, int rows, int head_dim) {
  store_tile<kColumns>(values, tile, row);
  __syncwarp();
  constexpr int kPieces = kM * 16 * Tile<kColumns>::kChunks;
  for (int piece = static_cast<int>(threadIdx.x) % 32; piece < kPieces; piece += 32) {
    const int r = piece / Tile<kColumns>::kChunks, chunk = piece % Tile<kColumns>::kChunks;
    if (r < rows && chunk * 8 < head_dim)
      access_as<uint4>(global + r * stride + chunk * 8) =
          access_as<const uint4>(tile + Tile<kColumns>::offset(row + r, chunk));
  }
}

}  // namespace seq1f1b::kernels::cuda

// Attention forward in bf16 on mma.sync, after FlashAttention-2 (Dao, arXiv 2307.08691):
//   s = scale query key^T, masked; output = softmax(s) value; log_sum_exp = log sum exp s
// with running statistics per row, so that a score never leaves the registers.
//   bytes      query, output and log_sum_exp once; key and value once per tile of queries
//   mapping    a block per (head, query tile, part of its keys); a warp owns 16 or 32 of the tile's
//              rows and all their scores. Key tiles run from the last, where the diagonal lies, to
//              the first. One tile of keys and one of values are in shared memory, each loaded
//              while the other is multiplied.
//   masks      evaluated only on tiles that some query does not see whole; tiles that none sees are
//              not loaded
//   sums       in an order that depends on the shape and on how many parts share a tile (from the
//              number of multiprocessors); parts are merged in order by attention_combine
//   limits     head_dim a multiple of 8 up to 256, in an instance of 64, 80, 96, 128 or 256 columns
#include <limits>

#include "kernels/cuda/attention/attention_mask.h"
#include "kernels/cuda/attention/attention_rows.h"
#include "kernels/cuda/attention/attention_sm80.h"
#include "kernels/cuda/attention/attention_tiles.h"
#include "kernels/cuda/attention/scratch_attention.h"

namespace seq1f1b::kernels::cuda {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Arguments {
  AttentionForward operands;
  BlockOrder order;
  int splits;               // parts that a tile's keys are dealt to
  float* part_output;       // fp32 [splits, mb, tokens, heads, head_dim] where splits > 1
  float* part_log_sum_exp;  // [splits, mb, heads, tokens]
};

// The largest of a row's values over the four lanes that share the row; likewise their sum.
__device__ __forceinline__ float row_max(float value) {
  value = fmaxf(value, __shfl_xor_sync(0xffffffffu, value, 1));
  return fmaxf(value, __shfl_xor_sync(0xffffffffu, value, 2));
}
__device__ __forceinline__ float row_sum(float value) {
  value += __shfl_xor_sync(0xffffffffu, value, 1);
  return value + __shfl_xor_sync(0xffffffffu, value, 2);
}

// The rows of one warp: output so far, not yet divided by the sum, and its statistics. Of each row
// a lane has the maximum of the whole row and its own columns' part of the sum.
template <int kHeadDim, int kM, int kN>
struct Rows {
  float output[kM][kHeadDim / 8][4];
  float highest[kM][2], sum[kM][2];

  __device__ __forceinline__ Rows() {
    clear(output);
#pragma unroll
    for (int m = 0; m < kM; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) highest[m][half] = -kInfinity, sum[m][half] = 0;
  }

  // Turns scores into exp(scale (score - highest)) and rescales what was summed below a new
  // maximum. A row that has seen no key yet keeps zeros: its scores are all -inf, measured from 0.
  __device__ __forceinline__ void exponentiate(float (&score)[kM][kN][4], float scale_log2) {
#pragma unroll
    for (int m = 0; m < kM; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float peak = highest[m][half];
#pragma unroll
        for (int n = 0; n < kN; ++n)
          peak = fmaxf(peak, fmaxf(score[m][n][2 * half], score[m][n][2 * half + 1]));
        peak = row_max(peak);
        const float reference = peak == -kInfinity ? 0 : peak;
        const float shrink = exp2_approx((highest[m][half] - reference) * scale_log2);
        const float base = reference * scale_log2;
        highest[m][half] = peak;
        float fresh = 0;
#pragma unroll
        for (int n = 0; n < kN; ++n)
#pragma unroll
          for (int e = 2 * half; e < 2 * half + 2; ++e) {
            score[m][n][e] = exp2_approx(score[m][n][e] * scale_log2 - base);
            fresh += score[m][n][e];
          }
        sum[m][half] = sum[m][half] * shrink + fresh;
        if (__ballot_sync(0xffffffffu, shrink != 1) == 0) continue;  // as mostly
#pragma unroll
        for (int n = 0; n < kHeadDim / 8; ++n) {
          output[m][n][2 * half] *= shrink;
          output[m][n][2 * half + 1] *= shrink;
        }
      }
  }

  // Divides by the sums and returns the log-sum-exps, natural: -inf and zeros where no key was
  // seen.
  __device__ __forceinline__ void finish(float (&log_sum_exp)[kM][2], float scale) {
#pragma unroll
    for (int m = 0; m < kM; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float total = row_sum(sum[m][half]);
        const float inverse = total > 0 ? 1 / total : 0;
        log_sum_exp[m][half] = total > 0 ? highest[m][half] * scale + logf(total) : -kInfinity;
#pragma unroll
        for (int n = 0; n < kHeadDim / 8; ++n) {
          output[m][n][2 * half] *= inverse;
          output[m][n][2 * half + 1] *= inverse;
        }
      }
  }
};

template <int kM, int kN>
__device__ __forceinline__ void hide_invisible(float (&score)[kM][kN][4], const AttentionMask& mask,
                                               int query, int key) {
#pragma unroll
  for (int m = 0; m < kM; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = query + m * 16 + half * 8 + lane_row();
      const int first = mask.first_key(row), last = mask.last_key(row);
#pragma unroll
      for (int n = 0; n < kN; ++n)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const int column = key + n * 8 + lane_column() + e;
          if (column < first || column >= last) score[m][n][2 * half + e] = -kInfinity;
        }
    }
}

template <int kHeadDim>
struct Forward {
  static constexpr AttentionTuning kTuning = tuning_of(kForwardTuning, kHeadDim);
  static constexpr int kRows = kTuning.rows(), kKeys = kTuning.step, kThreads = kTuning.threads();
  static constexpr int kM = kTuning.row_tiles, kN = kKeys / 8;
  // Shared memory is one tile: the queries' rows, then the keys', then the values'.
  static constexpr int kKeyRow = kRows, kValueRow = kKeyRow + kKeys;
  static constexpr int kSharedBytes = Tile<kHeadDim>::bytes(kValueRow + kKeys);
  static_assert(kRows <= kSplitTileRows && kTuning.head_dim == kHeadDim);
};

// A block's part of the work. It lives in shared memory: registers are for the accumulators.
struct Part {
  int sequence, head, kv_head, split;
  int row, rows;       // its first query; queries from there to the end of the sequence
  TileRange tiles;     // of keys
  TileRange unmasked;  // keys that all its queries see
};

template <int kHeadDim>
__device__ Part part_of(const Arguments& arguments) {
  using F = Forward<kHeadDim>;
  const AttentionShape& shape = arguments.operands.shape;
  const BlockOrder::Place place = arguments.order.place(blockIdx.x);
  Part part;
  part.sequence = place.head / shape.heads;
  part.head = place.head % shape.heads;
  part.kv_head = part.head / (shape.heads / shape.kv_heads);
  // Longest tiles first: a later query sees more keys.
  part.split = place.unit % arguments.splits;
  part.row = (arguments.order.units - 1 - place.unit) / arguments.splits * F::kRows;
  part.rows = shape.tokens - part.row;
  const AttentionMask mask(shape, part.sequence);
  const TileRange all = mask.key_tiles(part.row, F::kRows, F::kKeys);
  const int count = all.end - all.begin;
  part.tiles = {all.begin + count * part.split / arguments.splits,
                all.begin + count * (part.split + 1) / arguments.splits};
  part.unmasked = mask.seen_by_all(part.row, F::kRows);
  return part;
}

template <int kHeadDim>
__global__ void __launch_bounds__(Forward<kHeadDim>::kThreads, Forward<kHeadDim>::kTuning.blocks)
    forward_kernel(const Arguments arguments) {
  using F = Forward<kHeadDim>;
  SEQ1F1B_DYNAMIC_SHARED(memory);
  SEQ1F1B_SHARED(part, Part);
  if (threadIdx.x == 0) part = part_of<kHeadDim>(arguments);
  __syncthreads();
  const AttentionShape& shape = arguments.operands.shape;
  const int head_dim = shape.head_dim;
  const std::int64_t query_stride = static_cast<std::int64_t>(shape.heads) * head_dim;
  const std::uint32_t shared = shared_address(memory);
  const auto load = [&](int row, const void* from, int j) {
    load_tile<kHeadDim, F::kKeys, F::kThreads>(
        shared + static_cast<std::uint32_t>(Tile<kHeadDim>::bytes(row)),
        static_cast<const Bf16*>(from) +
            key_offset(shape, part.sequence, part.kv_head, j * F::kKeys),
        head_dim, shape.key_length - j * F::kKeys, head_dim);
    cp_async_commit();
  };

  const int warp_row = static_cast<int>(threadIdx.x) / 32 * (16 * F::kM);
  const auto queries = LaneOffsets<kHeadDim>::left(
                 shared + static_cast<std::uint32_t>(Tile<kHeadDim>::bytes(warp_row))),
             keys = LaneOffsets<kHeadDim>::right(shared),
             values = LaneOffsets<kHeadDim>::left(shared);
  const float scale_log2 = shape.scale * kLog2E;
  Rows<kHeadDim, F::kM, F::kN> result;
  int j = part.tiles.end - 1;
  if (j >= part.tiles.begin) {
    load_tile<kHeadDim, F::kRows, F::kThreads>(
        shared,
        static_cast<const Bf16*>(arguments.operands.query) +
            query_offset(shape, part.sequence, part.head, part.row),
        query_stride, part.rows, head_dim);
    load(F::kKeyRow, arguments.operands.key, j);
  }
  for (; j >= part.tiles.begin; --j) {
    cp_async_wait<0>();
    __syncthreads();  // the keys are there, and all warps are done with the values before
    load(F::kValueRow, arguments.operands.value, j);
    float score[F::kM][F::kN][4];
    clear(score);
    multiply_rows(score, queries, 0, keys, F::kKeyRow);
    cp_async_wait<0>();
    __syncthreads();  // the values are there, and all warps are done with the keys
    if (j > part.tiles.begin) load(F::kKeyRow, arguments.operands.key, j - 1);
    if (j * F::kKeys < part.unmasked.begin || (j + 1) * F::kKeys > part.unmasked.end)
      hide_invisible(score, AttentionMask(shape, part.sequence), part.row + warp_row, j * F::kKeys);
    result.exponentiate(score, scale_log2);
    multiply_accumulators(result.output, score, values, F::kValueRow);
  }

  float log_sum_exp[F::kM][2];
  result.finish(log_sum_exp, shape.scale);
  const bool whole = arguments.splits == 1;
  const std::int64_t all_rows =
      static_cast<std::int64_t>(shape.micro_batch) * shape.heads * shape.tokens;
  float* statistics =
      whole ? arguments.operands.log_sum_exp : arguments.part_log_sum_exp + part.split * all_rows;
#pragma unroll
  for (int m = 0; m < F::kM; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = warp_row + m * 16 + half * 8 + lane_row();
      if (row >= part.rows) continue;
      if (lane_column() == 0)
        statistics[statistic_offset(shape, part.sequence, part.head, part.row + row)] =
            log_sum_exp[m][half];
      if (whole) continue;
      float* out = arguments.part_output + part.split * all_rows * head_dim +
                   query_offset(shape, part.sequence, part.head, part.row + row);
#pragma unroll
      for (int n = 0; n < kHeadDim / 8; ++n)
        if (n * 8 < head_dim)
          access_as<float2>(out + n * 8 + lane_column()) =
              make_float2(result.output[m][n][2 * half], result.output[m][n][2 * half + 1]);
    }
  if (whole)  // through this warp's own rows of the query tile, which no other warp reads
    store_rows<kHeadDim>(result.output, memory, warp_row,
                         static_cast<Bf16*>(arguments.operands.output) +
                             query_offset(shape, part.sequence, part.head, part.row + warp_row),
                         query_stride, part.rows - warp_row, head_dim);
}

template <int kHeadDim>
bool launch(Context& context, const AttentionForward& operands) {
  using F = Forward<kHeadDim>;
  if (!sm80_fits(context, F::kSharedBytes)) return false;
  const AttentionShape& shape = operands.shape;
  const std::int64_t heads = std::int64_t{shape.micro_batch} * shape.heads;
  const std::int64_t tiles = (shape.tokens + F::kRows - 1) / F::kRows;
  Arguments arguments{operands, {}, 1, nullptr, nullptr};
  arguments.splits = sm80_forward_splits(shape, context.multiprocessors);
  // A group's query heads share their keys, so a head costs the cache its share of them.
  arguments.order = BlockOrder::of(
      heads, tiles * arguments.splits,
      std::int64_t{4} * shape.key_length * shape.head_dim * shape.kv_heads / shape.heads);
  if (arguments.splits > 1) {
    const auto rows = static_cast<std::size_t>(arguments.splits * heads * shape.tokens);
    arguments.part_output =
        context.scratch.take<float>(rows * static_cast<std::size_t>(shape.head_dim));
    arguments.part_log_sum_exp = context.scratch.take<float>(rows);
  }
  allow_shared_bytes(forward_kernel<kHeadDim>, F::kSharedBytes);
  SEQ1F1B_LAUNCH((forward_kernel<kHeadDim>), arguments.order.blocks(), F::kThreads, F::kSharedBytes,
                 context.stream, arguments);
  if (arguments.splits > 1)
    attention_combine(context, operands, arguments.splits, arguments.part_output,
                      arguments.part_log_sum_exp);
  return true;
}

}  // namespace

bool attention_sm80_forward(Context& context, const AttentionForward& operands) {
  if (!sm80_serves(operands.shape, operands.query, operands.key, operands.value, operands.output))
    return false;
  return for_instance(operands.shape.head_dim,
                      [&](auto dim) { return launch<decltype(dim)::value>(context, operands); });
}

}  // namespace seq1f1b::kernels::cuda

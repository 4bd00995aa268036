// Attention backward in bf16 on mma.sync, over keys: grad_key and grad_value, and in the one-pass
// variant grad_query. With p = exp(scale query key^T - log_sum_exp) and
// delta = rowsum(grad_output * output):
//   grad_value += p^T grad_output; g = p * (grad_output value^T - delta);
//   grad_key += scale g^T query; grad_query += scale g key
//   bytes      key, value, grad_key, grad_value once; query, grad_output and two statistics once
//              per tile of keys
//   mapping    a block per (key head, tile of keys): the only writer of that tile's gradients, so
//              the sums over segments of Accumulate::kAdd need no atomics. A warp owns 16 or 32
//              keys; scores are computed transposed, [keys x queries], and are then the left
//              operand of both products as they are. Steps run over the query heads of the group
//              and their tiles of queries, two tiles in shared memory, one loading.
//   masks      as in the forward: evaluated on tiles at an edge, other tiles never loaded
//   sums       in step order: the same bits always. grad_query of the one-pass variant: fp32
//              atomics of every block in any order
//   limits     as the forward. Above 128 columns the registers hold one gradient at a time: two
//              launches, and no one-pass variant.
#include "kernels/cuda/attention/attention_sm80_backward.h"

namespace seq1f1b::kernels::cuda {
namespace {

// Which gradients a kernel computes.
enum class Gradients { kBoth, kKey, kValue };

template <int kHeadDim, Gradients kGradients, bool kWithQuery>
struct BackwardKey {
  static constexpr AttentionTuning kTuning = tuning_of(kBackwardKeyTuning, kHeadDim);
  static constexpr int kKeys = kTuning.rows(), kQueries = kTuning.step;
  static constexpr int kThreads = kTuning.threads();
  static constexpr int kM = kTuning.row_tiles, kN = kQueries / 8;
  static constexpr bool kKey = kGradients != Gradients::kValue;
  static constexpr bool kValue = kGradients != Gradients::kKey;
  // Shared memory: one tile of rows (keys, values, two stages of queries and of grad_output), the
  // score gradients [keys x queries], two stages of statistics.
  static constexpr int kValueRow = kKeys, kQueryRow = 2 * kKeys,
                       kOutputRow = kQueryRow + 2 * kQueries;
  static constexpr int kStageBytes = Tile<kHeadDim>::bytes(kQueries);
  static constexpr int kScoreAt = Tile<kHeadDim>::bytes(kOutputRow + 2 * kQueries);
  static constexpr int kStatisticAt = kScoreAt + (kWithQuery ? Tile<kQueries>::bytes(kKeys) : 0);
  static constexpr int kSharedBytes =
      kStatisticAt + 2 * 2 * kQueries * static_cast<int>(sizeof(float));
  static_assert(kTuning.head_dim == kHeadDim && 2 * kQueries <= kThreads);
  static_assert(!kWithQuery || kGradients == Gradients::kBoth);
};

// A block's part of the work, in shared memory.
struct Part {
  int sequence, kv_head, key;
  int head;            // the group's first query head
  TileRange tiles;     // of queries
  int steps;           // tiles times query heads
  TileRange unmasked;  // queries that see all its keys
  int query_stride;    // elements from a query to the next
};

// A step's query head (of the group) and tile.
struct Step {
  int head, tile;
  __device__ void advance(TileRange tiles) {
    if (++tile < tiles.end) return;
    tile = tiles.begin;
    ++head;
  }
};

template <class B>
__device__ Part part_of(const BackwardArguments& arguments) {
  const AttentionShape& shape = arguments.operands.shape;
  const BlockOrder::Place place = arguments.order.place(blockIdx.x);
  Part part;
  part.sequence = place.head / shape.kv_heads;
  part.kv_head = place.head % shape.kv_heads;
  part.head = part.kv_head * (shape.heads / shape.kv_heads);
  part.query_stride = shape.heads * shape.head_dim;
  part.key = place.unit * B::kKeys;  // the first are seen by most queries
  const AttentionMask mask(shape, part.sequence);
  const TileRange queries = mask.queries_of(part.key, B::kKeys);
  part.tiles = {queries.begin / B::kQueries, (queries.end + B::kQueries - 1) / B::kQueries};
  if (queries.begin >= queries.end) part.tiles = {0, 0};
  part.unmasked = mask.queries_of_all(part.key, B::kKeys);
  // Behind the last query there is nothing to hide.
  if (part.unmasked.end == shape.tokens) part.unmasked.end += B::kQueries;
  part.steps = (part.tiles.end - part.tiles.begin) * (shape.heads / shape.kv_heads);
  return part;
}

// Zeroes what a query must not see, of probabilities [keys x queries].
template <int kM, int kN>
__device__ __forceinline__ void hide_invisible(float (&value)[kM][kN][4], const AttentionMask& mask,
                                               int query, int key) {
#pragma unroll
  for (int n = 0; n < kN; ++n)
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const int column = query + n * 8 + lane_column() + e;
      const int first = mask.first_key(column), last = mask.last_key(column);
#pragma unroll
      for (int m = 0; m < kM; ++m)
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int row = key + m * 16 + half * 8 + lane_row();
          if (row < first || row >= last) value[m][n][2 * half + e] = 0;
        }
    }
}

// grad[keys x head_dim] (+)= scale * sum: this thread's pairs of columns of the rows that exist.
template <int kHeadDim, int kM>
__device__ __forceinline__ void write_gradient(const float (&sum)[kM][kHeadDim / 8][4], float* grad,
                                               int first_row, int rows, int head_dim, float scale,
                                               bool add) {
#pragma unroll
  for (int m = 0; m < kM; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = first_row + m * 16 + half * 8 + lane_row();
      if (row >= rows) continue;
      float* out = grad + static_cast<std::int64_t>(row) * head_dim;
#pragma unroll
      for (int n = 0; n < kHeadDim / 8; ++n) {
        if (n * 8 >= head_dim) break;
        float2& pair = access_as<float2>(out + n * 8 + lane_column());
        const float2 before = add ? pair : make_float2(0, 0);
        pair = make_float2(before.x + scale * sum[m][n][2 * half],
                           before.y + scale * sum[m][n][2 * half + 1]);
      }
    }
}

// Adds the block's part of grad_query to the sum in global memory: score gradients [kKeys x
// kQueries] of a step, transposed, times the keys. Warps share the result by rows and by 16-column
// pieces.
template <class B, int kHeadDim>
__device__ __forceinline__ void add_grad_query(std::uint32_t shared, float* sum, int stride,
                                               int rows, int head_dim) {
  constexpr int kRowTiles = B::kQueries / 16, kAcross = B::kTuning.warps / kRowTiles;
  constexpr int kPieces = kHeadDim / 16, kMine = (kPieces + kAcross - 1) / kAcross;
  static_assert(B::kTuning.warps % kRowTiles == 0);
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int row_tile = warp % kRowTiles, first_piece = warp / kRowTiles;
  const LaneRow score_lane = lane_row_right(), key_lane = lane_row_left();
  float part[kMine][2][4];
  clear(part);
#pragma unroll 2
  for (int k = 0; k < B::kKeys / 16; ++k) {
    std::uint32_t a[4];
    ldmatrix_x4_trans(
        a, shared + B::kScoreAt +
               Tile<B::kQueries>::offset(k * 16 + score_lane.row, 2 * row_tile + score_lane.chunk));
#pragma unroll
    for (int i = 0; i < kMine; ++i) {
      const int piece = first_piece + i * kAcross;
      if (kPieces % kAcross != 0 && piece >= kPieces) break;
      std::uint32_t b[4];
      ldmatrix_x4_trans(
          b, shared + Tile<kHeadDim>::offset(k * 16 + key_lane.row, 2 * piece + key_lane.chunk));
      mma_bf16_16816(part[i][0], a, b[0], b[1]);
      mma_bf16_16816(part[i][1], a, b[2], b[3]);
    }
  }
  const int row = row_tile * 16 + lane_row(), columns = head_dim - first_piece * 16;
  sum += row * stride + first_piece * 16 + lane_column();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    if (half * 8 >= rows - row) break;
    float* out = sum + half * 8 * stride;
#pragma unroll
    for (int i = 0; i < kMine; ++i)
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        const int column = i * kAcross * 16 + n * 8;
        if (column >= columns) break;
        atomicAdd(out + column, part[i][n][2 * half]);
        atomicAdd(out + column + 1, part[i][n][2 * half + 1]);
      }
  }
}

template <int kHeadDim, Gradients kGradients, bool kWithQuery>
__global__ void __launch_bounds__(BackwardKey<kHeadDim, kGradients, kWithQuery>::kThreads,
                                  BackwardKey<kHeadDim, kGradients, kWithQuery>::kTuning.blocks)
    backward_key_kernel(const BackwardArguments arguments) {
  using B = BackwardKey<kHeadDim, kGradients, kWithQuery>;
  SEQ1F1B_DYNAMIC_SHARED(memory);
  SEQ1F1B_SHARED(part, Part);
  if (threadIdx.x == 0) part = part_of<B>(arguments);
  __syncthreads();
  const AttentionBackward& operands = arguments.operands;
  const AttentionShape& shape = operands.shape;
  const int head_dim = shape.head_dim;
  const std::uint32_t shared = shared_address(memory);
  float* statistics = reinterpret_cast<float*>(memory + B::kStatisticAt);
  const std::int64_t query_stride = static_cast<std::int64_t>(shape.heads) * head_dim;
  const int thread = static_cast<int>(threadIdx.x);

  const auto load = [&](int row, const void* from, std::int64_t offset, std::int64_t stride,
                        int rows, auto count) {
    load_tile<kHeadDim, decltype(count)::value, B::kThreads>(
        shared + static_cast<std::uint32_t>(Tile<kHeadDim>::bytes(row)),
        static_cast<const Bf16*>(from) + offset, stride, rows, head_dim);
  };
  const auto load_step = [&](const Step& step, int stage) {
    using Count = std::integral_constant<int, B::kQueries>;
    const int query = step.tile * B::kQueries, rows = shape.tokens - query;
    const std::int64_t at = query_offset(shape, part.sequence, part.head + step.head, query);
    load(B::kQueryRow + stage * B::kQueries, operands.query, at, query_stride, rows, Count{});
    load(B::kOutputRow + stage * B::kQueries, operands.grad_output, at, query_stride, rows,
         Count{});
    cp_async_commit();
  };
  // The statistic that this thread brings for a step: of the log-sum-exps, then of delta.
  const auto statistic_of = [&](const Step& step) {
    const int query = step.tile * B::kQueries + thread % B::kQueries;
    const bool first = thread < B::kQueries;
    if (thread >= 2 * B::kQueries || query >= shape.tokens) return first ? kNoQuery : 0.0f;
    const std::int64_t at = statistic_offset(shape, part.sequence, part.head + step.head, query);
    return first ? operands.log_sum_exp[at] * kLog2E : arguments.delta[at];
  };
  const auto keep_statistic = [&](int stage, float value) {
    if (thread < 2 * B::kQueries) statistics[stage * 2 * B::kQueries + thread] = value;
  };

  const int warp_row = thread / 32 * (16 * B::kM);
  const auto own = LaneOffsets<kHeadDim>::left(
      shared + static_cast<std::uint32_t>(Tile<kHeadDim>::bytes(warp_row)));
  auto across = LaneOffsets<kHeadDim>::right(shared);  // these two move with the stage
  auto down = LaneOffsets<kHeadDim>::left(shared);
  float grad_key[B::kKey ? B::kM : 1][kHeadDim / 8][4];
  float grad_value[B::kValue ? B::kM : 1][kHeadDim / 8][4];
  clear(grad_key);
  clear(grad_value);

  Step current{0, part.tiles.begin};
  if (part.steps > 0) {
    using Count = std::integral_constant<int, B::kKeys>;
    const std::int64_t at = key_offset(shape, part.sequence, part.kv_head, part.key);
    load(0, operands.key, at, head_dim, shape.key_length - part.key, Count{});
    if (B::kKey)
      load(B::kValueRow, operands.value, at, head_dim, shape.key_length - part.key, Count{});
    load_step(current, 0);
    keep_statistic(0, statistic_of(current));
  }
  for (int step = 0; step < part.steps; ++step) {
    cp_async_wait<0>();
    __syncthreads();  // the step's rows are there, and all warps are done with the step before
    const int query = current.tile * B::kQueries, stage_row = step % 2 * B::kQueries;
    float next_statistic = 0;
    if (step + 1 < part.steps) {
      Step next = current;
      next.advance(part.tiles);
      load_step(next, (step + 1) % 2);
      next_statistic = statistic_of(next);
    }
    const float* log_sum_exp2 = statistics + 2 * stage_row;
    const float* delta = log_sum_exp2 + B::kQueries;

    float score[B::kM][B::kN][4];  // then probabilities, transposed
    clear(score);
    multiply_rows(score, own, 0, across, B::kQueryRow);
#pragma unroll
    for (int n = 0; n < B::kN; ++n)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const float statistic = log_sum_exp2[n * 8 + lane_column() + e];
#pragma unroll
        for (int m = 0; m < B::kM; ++m)
#pragma unroll
          for (int half = 0; half < 2; ++half)
            score[m][n][2 * half + e] =
                probability(score[m][n][2 * half + e], shape.scale * kLog2E, statistic);
      }
    if (query < part.unmasked.begin || query + B::kQueries > part.unmasked.end)
      hide_invisible(score, AttentionMask(shape, part.sequence), query, part.key + warp_row);
    if constexpr (B::kValue) multiply_accumulators(grad_value, score, down, B::kOutputRow);
    if constexpr (B::kKey) {
      float grad_score[B::kM][B::kN][4];
      clear(grad_score);
      multiply_rows(grad_score, own, B::kValueRow, across, B::kOutputRow);
#pragma unroll
      for (int n = 0; n < B::kN; ++n)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const float statistic = delta[n * 8 + lane_column() + e];
#pragma unroll
          for (int m = 0; m < B::kM; ++m)
#pragma unroll
            for (int half = 0; half < 2; ++half)
              grad_score[m][n][2 * half + e] =
                  score[m][n][2 * half + e] * (grad_score[m][n][2 * half + e] - statistic);
        }
      if constexpr (kWithQuery) store_tile<B::kQueries>(grad_score, memory + B::kScoreAt, warp_row);
      multiply_accumulators(grad_key, grad_score, down, B::kQueryRow);
      if constexpr (kWithQuery) {
        __syncthreads();
        add_grad_query<B, kHeadDim>(
            shared,
            arguments.grad_query_sum +
                query_offset(shape, part.sequence, part.head + current.head, query),
            part.query_stride, shape.tokens - query, head_dim);
      }
    }
    if (step + 1 < part.steps) keep_statistic((step + 1) % 2, next_statistic);
    current.advance(part.tiles);
    across.move(step % 2 == 0 ? B::kStageBytes : -B::kStageBytes);
    down.move(step % 2 == 0 ? B::kStageBytes : -B::kStageBytes);
  }

  if (operands.add && part.steps == 0) return;
  const std::int64_t at = key_offset(shape, part.sequence, part.kv_head, part.key);
  const int rows = shape.key_length - part.key;
  if (B::kKey)
    write_gradient<kHeadDim>(grad_key, operands.grad_key + at, warp_row, rows, head_dim,
                             shape.scale, operands.add);
  if (B::kValue)
    write_gradient<kHeadDim>(grad_value, operands.grad_value + at, warp_row, rows, head_dim, 1,
                             operands.add);
}

template <int kHeadDim, Gradients kGradients, bool kWithQuery>
void launch(Context& context, BackwardArguments arguments) {
  using B = BackwardKey<kHeadDim, kGradients, kWithQuery>;
  const AttentionShape& shape = arguments.operands.shape;
  // A key head costs the cache its queries, their gradients and the statistics.
  arguments.order = BlockOrder::of(
      std::int64_t{shape.micro_batch} * shape.kv_heads,
      (shape.key_length + B::kKeys - 1) / B::kKeys,
      std::int64_t{4} * shape.tokens * shape.head_dim * shape.heads / shape.kv_heads);
  allow_shared_bytes(backward_key_kernel<kHeadDim, kGradients, kWithQuery>, B::kSharedBytes);
  SEQ1F1B_LAUNCH((backward_key_kernel<kHeadDim, kGradients, kWithQuery>), arguments.order.blocks(),
                 B::kThreads, B::kSharedBytes, context.stream, arguments);
}

}  // namespace

int attention_sm80_backward_key_bytes(int head_dim, bool with_query) {
  return for_instance(head_dim, [&](auto dim) {
    constexpr int kHeadDim = decltype(dim)::value;
    if constexpr (kHeadDim > kOnePassHeadDim)
      return BackwardKey<kHeadDim, Gradients::kKey, false>::kSharedBytes;
    else
      return with_query ? BackwardKey<kHeadDim, Gradients::kBoth, true>::kSharedBytes
                        : BackwardKey<kHeadDim, Gradients::kBoth, false>::kSharedBytes;
  });
}

void attention_sm80_backward_key(Context& context, const BackwardArguments& arguments) {
  for_instance(arguments.operands.shape.head_dim, [&](auto dim) {
    constexpr int kHeadDim = decltype(dim)::value;
    if constexpr (kHeadDim > kOnePassHeadDim) {
      launch<kHeadDim, Gradients::kValue, false>(context, arguments);
      launch<kHeadDim, Gradients::kKey, false>(context, arguments);
    } else if (arguments.grad_query_sum) {
      launch<kHeadDim, Gradients::kBoth, true>(context, arguments);
    } else {
      launch<kHeadDim, Gradients::kBoth, false>(context, arguments);
    }
  });
}

}  // namespace seq1f1b::kernels::cuda

// Attention backward in bf16 on mma.sync, over queries: grad_query. With p and delta as in
// attention_sm80_backward_key.cu, g = p * (grad_output value^T - delta): grad_query = scale g key.
//   bytes      query, grad_output, grad_query and two statistics once; key and value once per tile
//              of queries
//   mapping    a block per (head, tile of queries), the longest first; a warp owns 16 or 32
//              queries, whose score gradients are the left operand of the last product as they are.
//              Steps run over tiles of keys, two tiles in shared memory, one loading.
//   masks      as in the forward: evaluated on tiles at an edge, other tiles never loaded
//   sums       over keys in order: the same bits always
//   limits     as the forward
#include "kernels/cuda/attention/attention_rows.h"
#include "kernels/cuda/attention/attention_sm80_backward.h"

namespace seq1f1b::kernels::cuda {
namespace {

template <int kHeadDim>
struct BackwardQuery {
  static constexpr AttentionTuning kTuning = tuning_of(kBackwardQueryTuning, kHeadDim);
  static constexpr int kQueries = kTuning.rows(), kKeys = kTuning.step;
  static constexpr int kThreads = kTuning.threads(), kM = kTuning.row_tiles, kN = kKeys / 8;
  // Shared memory is one tile: queries, grad_output, two stages of keys and of values.
  static constexpr int kOutputRow = kQueries, kKeyRow = 2 * kQueries;
  static constexpr int kValueRow = kKeyRow + 2 * kKeys;
  static constexpr int kStageBytes = Tile<kHeadDim>::bytes(kKeys);
  static constexpr int kSharedBytes = Tile<kHeadDim>::bytes(kValueRow + 2 * kKeys);
  static_assert(kTuning.head_dim == kHeadDim);
};

// A block's part of the work, in shared memory.
struct Part {
  int sequence, head, kv_head;
  int query, queries;  // its first, and how many there are from it on
  TileRange tiles;     // of keys
  TileRange unmasked;  // keys that all its queries see
};

template <class B>
__device__ Part part_of(const BackwardArguments& arguments) {
  const AttentionShape& shape = arguments.operands.shape;
  const BlockOrder::Place place = arguments.order.place(blockIdx.x);
  Part part;
  part.sequence = place.head / shape.heads;
  part.head = place.head % shape.heads;
  part.kv_head = part.head / (shape.heads / shape.kv_heads);
  part.query = (arguments.order.units - 1 - place.unit) * B::kQueries;
  part.queries = shape.tokens - part.query;
  const AttentionMask mask(shape, part.sequence);
  part.tiles = mask.key_tiles(part.query, B::kQueries, B::kKeys);
  part.unmasked = mask.seen_by_all(part.query, B::kQueries);
  return part;
}

template <int kHeadDim>
__global__ void __launch_bounds__(BackwardQuery<kHeadDim>::kThreads,
                                  BackwardQuery<kHeadDim>::kTuning.blocks)
    backward_query_kernel(const BackwardArguments arguments) {
  using B = BackwardQuery<kHeadDim>;
  SEQ1F1B_DYNAMIC_SHARED(memory);
  SEQ1F1B_SHARED(part, Part);
  if (threadIdx.x == 0) part = part_of<B>(arguments);
  __syncthreads();
  const AttentionBackward& operands = arguments.operands;
  const AttentionShape& shape = operands.shape;
  const int head_dim = shape.head_dim;
  const std::int64_t query_stride = static_cast<std::int64_t>(shape.heads) * head_dim;
  const std::uint32_t shared = shared_address(memory);
  const auto load_queries = [&](int row, const void* from) {
    load_tile<kHeadDim, B::kQueries, B::kThreads>(
        shared + static_cast<std::uint32_t>(Tile<kHeadDim>::bytes(row)),
        static_cast<const Bf16*>(from) + query_offset(shape, part.sequence, part.head, part.query),
        query_stride, part.queries, head_dim);
  };
  const auto load_keys = [&](int row, const void* from, int j) {
    load_tile<kHeadDim, B::kKeys, B::kThreads>(
        shared + static_cast<std::uint32_t>(
                     Tile<kHeadDim>::bytes(row + (j - part.tiles.begin) % 2 * B::kKeys)),
        static_cast<const Bf16*>(from) +
            key_offset(shape, part.sequence, part.kv_head, j * B::kKeys),
        head_dim, shape.key_length - j * B::kKeys, head_dim);
  };

  load_queries(0, operands.query);
  load_queries(B::kOutputRow, operands.grad_output);
  load_keys(B::kKeyRow, operands.key, part.tiles.begin);
  load_keys(B::kValueRow, operands.value, part.tiles.begin);
  cp_async_commit();

  const int warp_row = static_cast<int>(threadIdx.x) / 32 * (16 * B::kM);
  float log_sum_exp2[B::kM][2], delta[B::kM][2];
#pragma unroll
  for (int m = 0; m < B::kM; ++m)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = warp_row + m * 16 + half * 8 + lane_row();
      log_sum_exp2[m][half] = kNoQuery;
      delta[m][half] = 0;
      if (row >= part.queries) continue;
      const std::int64_t at = statistic_offset(shape, part.sequence, part.head, part.query + row);
      log_sum_exp2[m][half] = operands.log_sum_exp[at] * kLog2E;
      delta[m][half] = arguments.delta[at];
    }

  const auto own = LaneOffsets<kHeadDim>::left(
      shared + static_cast<std::uint32_t>(Tile<kHeadDim>::bytes(warp_row)));
  auto across = LaneOffsets<kHeadDim>::right(shared);  // these two move with the stage
  auto down = LaneOffsets<kHeadDim>::left(shared);
  float grad_query[B::kM][kHeadDim / 8][4];
  clear(grad_query);
  for (int j = part.tiles.begin; j < part.tiles.end; ++j) {
    cp_async_wait<0>();
    __syncthreads();  // the tile is there, and all warps are done with the one before
    if (j + 1 < part.tiles.end) {
      load_keys(B::kKeyRow, operands.key, j + 1);
      load_keys(B::kValueRow, operands.value, j + 1);
      cp_async_commit();
    }
    float score[B::kM][B::kN][4], grad_score[B::kM][B::kN][4];
    clear(score);
    multiply_rows(score, own, 0, across, B::kKeyRow);
    clear(grad_score);
    multiply_rows(grad_score, own, B::kOutputRow, across, B::kValueRow);
    const bool masked =
        j * B::kKeys < part.unmasked.begin || (j + 1) * B::kKeys > part.unmasked.end;
    const AttentionMask mask(shape, part.sequence);
#pragma unroll
    for (int m = 0; m < B::kM; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        if (masked) {  // after the exponential it would be too late: an inf times a zero key
          const int row = part.query + warp_row + m * 16 + half * 8 + lane_row();
          const int first = mask.first_key(row), last = mask.last_key(row);
#pragma unroll
          for (int n = 0; n < B::kN; ++n)
#pragma unroll
            for (int e = 0; e < 2; ++e) {
              const int column = j * B::kKeys + n * 8 + lane_column() + e;
              if (column < first || column >= last) score[m][n][2 * half + e] = -kNoQuery;
            }
        }
#pragma unroll
        for (int n = 0; n < B::kN; ++n)
#pragma unroll
          for (int e = 2 * half; e < 2 * half + 2; ++e)
            grad_score[m][n][e] =
                probability(score[m][n][e], shape.scale * kLog2E, log_sum_exp2[m][half]) *
                (grad_score[m][n][e] - delta[m][half]);
      }
    multiply_accumulators(grad_query, grad_score, down, B::kKeyRow);
    const bool first = (j - part.tiles.begin) % 2 == 0;
    across.move(first ? B::kStageBytes : -B::kStageBytes);
    down.move(first ? B::kStageBytes : -B::kStageBytes);
  }

#pragma unroll
  for (int m = 0; m < B::kM; ++m)
#pragma unroll
    for (int n = 0; n < kHeadDim / 8; ++n)
#pragma unroll
      for (int e = 0; e < 4; ++e) grad_query[m][n][e] *= shape.scale;
  // Through this warp's own rows of the query tile, which no other warp reads.
  store_rows<kHeadDim>(grad_query, memory, warp_row,
                       static_cast<Bf16*>(operands.grad_query) +
                           query_offset(shape, part.sequence, part.head, part.query + warp_row),
                       query_stride, part.queries - warp_row, head_dim);
}

template <int kHeadDim>
void launch(Context& context, BackwardArguments arguments) {
  using B = BackwardQuery<kHeadDim>;
  const AttentionShape& shape = arguments.operands.shape;
  arguments.order = BlockOrder::of(
      std::int64_t{shape.micro_batch} * shape.heads, (shape.tokens + B::kQueries - 1) / B::kQueries,
      std::int64_t{4} * shape.key_length * shape.head_dim * shape.kv_heads / shape.heads);
  allow_shared_bytes(backward_query_kernel<kHeadDim>, B::kSharedBytes);
  SEQ1F1B_LAUNCH((backward_query_kernel<kHeadDim>), arguments.order.blocks(), B::kThreads,
                 B::kSharedBytes, context.stream, arguments);
}

}  // namespace

int attention_sm80_backward_query_bytes(int head_dim) {
  return for_instance(head_dim,
                      [](auto dim) { return BackwardQuery<decltype(dim)::value>::kSharedBytes; });
}

void attention_sm80_backward_query(Context& context, const BackwardArguments& arguments) {
  for_instance(arguments.operands.shape.head_dim,
               [&](auto dim) { launch<decltype(dim)::value>(context, arguments); });
}

bool attention_sm80_backward(Context& context, const AttentionBackward& operands) {
  const AttentionShape& shape = operands.shape;
  if (!sm80_serves(shape, operands.grad_output, operands.query, operands.key, operands.value,
                   operands.output, operands.grad_query, operands.grad_key, operands.grad_value))
    return false;
  const auto keys_fit = [&](bool with_query) {
    return sm80_fits(context, attention_sm80_backward_key_bytes(shape.head_dim, with_query));
  };
  const bool one_pass =
      !context.deterministic && shape.head_dim <= kOnePassHeadDim && keys_fit(true);
  if (!one_pass &&
      !(keys_fit(false) && sm80_fits(context, attention_sm80_backward_query_bytes(shape.head_dim))))
    return false;
  const std::int64_t rows = std::int64_t{shape.micro_batch} * shape.heads * shape.tokens;
  const std::int64_t count = rows * shape.head_dim;
  float* delta = context.scratch.take<float>(static_cast<std::size_t>(rows));
  attention_delta(context, operands, Dtype::kBf16, delta);
  BackwardArguments arguments{operands, {}, delta, nullptr};
  if (!one_pass) {
    attention_sm80_backward_key(context, arguments);
    attention_sm80_backward_query(context, arguments);
    return true;
  }
  arguments.grad_query_sum = context.scratch.take<float>(static_cast<std::size_t>(count));
  check(cudaMemsetAsync(arguments.grad_query_sum, 0,
                        static_cast<std::size_t>(count) * sizeof(float), context.stream),
        "clearing the sum of query gradients");
  attention_sm80_backward_key(context, arguments);
  attention_round(context, arguments.grad_query_sum, count, shape.scale, operands.grad_query);
  return true;
}

}  // namespace seq1f1b::kernels::cuda

// Attention backward for Hopper, gradient of the queries: grad_query_i = scale sum_j g_ij k_j, with
// g as in attention_sm90_backward.cu.
//
// Bytes moved: query, grad_output, two statistics, grad_query once; key and value once per block of
// 128 queries, mostly from the L2 cache.
//
// Mapping: as the forward's. A block computes 128 queries of one head, 64 per warp group: scores
// and grad_output value^T from shared memory into registers, g from both in registers, which are
// the operand of the product with the keys. That product runs under the next block's.
//
// Deterministic: every sum has a fixed order.
// Limits: those of attention_sm90.h. Run on the emulator of kernels/simt, never on a GPU.
#include <cmath>

#include "kernels/cuda/attention/attention_sm90_backward.h"
#include "kernels/cuda/attention/attention_sm90_query_tile.h"
#include "kernels/cuda/attention/attention_sm90_roles.h"
#include "kernels/cuda/attention/attention_sm90_tiles.h"

namespace seq1f1b::kernels::cuda::sm90 {

template <int kDim>
struct QueryTiles {
  static constexpr int kConsumers = 2;  // warp groups
  static constexpr int kQueries = kGroupRows * kConsumers;
  static constexpr int kKeys = kBackwardKeys, kStages = 2;
  using Groups = WarpGroups<kConsumers>;

  static constexpr int kQueryBytes = tile_bytes(kQueries, kDim);
  static constexpr int kKeyBytes = tile_bytes(kKeys, kDim);
  // Shared memory: query (later its gradient), grad_output, keys, values, barriers.
  static constexpr int kGradOutput = kQueryBytes, kKey = 2 * kQueryBytes;
  static constexpr int kQueryFull = kKey + 2 * kStages * kKeyBytes;
  using Keys = Ring<kStages, kKeyBytes, kKey, kQueryFull + kBarrierBytes>;
  using Values = Ring<kStages, kKeyBytes, Keys::kTilesEnd, Keys::kBarriersEnd>;
  static_assert(Values::kTilesEnd == kQueryFull);
  static constexpr int kSharedBytes = Values::kBarriersEnd;
  static_assert(kStages == 2 && kSharedBytes <= 227 * 1024);
  static constexpr int own_barrier(int w) { return 1 + w; }
};

namespace {

struct QueryArguments {
  AttentionShape shape;
  int query_tiles, section, padded_tokens;
  const float* log2_sum;
  const float* delta;
};

#if SEQ1F1B_SM90

template <int kDim>
using Queries = QueryTile<QueryTiles<kDim>::kQueries, QueryTiles<kDim>::kKeys>;

// One thread.
template <int kDim>
__device__ __forceinline__ void load(const TensorMap* query, const TensorMap* grad_output,
                                     const TensorMap* key, const TensorMap* value,
                                     const Queries<kDim>& at, std::uint32_t shared) {
  using T = QueryTiles<kDim>;
  const std::uint32_t query_full = shared + T::kQueryFull;
  mbarrier_arrive_expect(query_full, 2 * T::kQueryBytes);
  load_query_tile<T::kQueries, kDim>(shared, query, at.head, at.first_query, at.batch, query_full);
  load_query_tile<T::kQueries, kDim>(shared + T::kGradOutput, grad_output, at.head, at.first_query,
                                     at.batch, query_full);
  typename T::Keys::Place key_place;
  typename T::Values::Place value_place;
  for (int block = at.keys.begin; block < at.keys.end; ++block) {
    const auto load_block = [&](const TensorMap* map) {
      return [&at, map, block](std::uint32_t tile, std::uint32_t barrier) {
        load_key_tile<T::kKeys, kDim>(tile, map, at.kv_head, block * T::kKeys, at.batch, barrier);
      };
    };
    T::Keys::fill(shared, key_place, load_block(key));
    T::Values::fill(shared, value_place, load_block(value));
  }
}

// A warp group: 64 queries.
template <int kDim>
__device__ __forceinline__ void compute(const TensorMap* grad_query, const QueryArguments& a,
                                        const Queries<kDim>& at, std::uint32_t shared,
                                        unsigned char* shared_bytes) {
  using T = QueryTiles<kDim>;
  const int thread = threadIdx.x % kGroup, lane = thread % 32, t = lane % 4;
  const int w = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / kGroup - 1, 0);
  const int first_query = at.first_query + w * kGroupRows;
  const RowPair rows(at.mask, first_query, thread);
  float log2_sum[2], delta[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {  // rows are below padded_tokens
    const std::int64_t place = static_cast<std::int64_t>(at.row) * a.padded_tokens + rows.row[r];
    log2_sum[r] = a.log2_sum[place];
    delta[r] = a.delta[place];
  }
  const std::uint64_t query_tile = panel_descriptor(shared + w * kGroupRows * kRowBytes);
  const std::uint64_t grad_output_tile =
      panel_descriptor(shared + T::kGradOutput + w * kGroupRows * kRowBytes);
  const std::uint64_t key_tiles = panel_descriptor(shared + T::kKey);
  const std::uint64_t key_tiles_outer = panel_descriptor(shared + T::kKey, T::kKeys * kRowBytes);
  const std::uint64_t value_tiles = panel_descriptor(shared + T::Keys::kTilesEnd);
  const float scale_log2 = a.shape.scale * kLog2E;

  float s[T::kKeys / 2], gp[T::kKeys / 2], sum[kDim / 2];
  std::uint32_t gs[T::kKeys / 4];
#pragma unroll
  for (int i = 0; i < kDim / 2; ++i) sum[i] = 0;

  mbarrier_wait(shared + T::kQueryFull, 0);
  typename T::Keys::Place place;
  for (int block = at.keys.begin; block < at.keys.end; ++block) {
    T::Keys::wait(shared, place);
    wgmma_fence();
    product_abt<kDim, T::kQueries, T::kKeys>(s, query_tile,
                                             moved(key_tiles, place.stage * T::kKeyBytes));
    wgmma_commit();
    // The product of the block before is done: its operand's registers are free for the next one.
    wgmma_wait<1>();
    wgmma_arrived(sum);
    if (block > at.keys.begin) T::Keys::release(shared, place.stage ^ 1, lane);
    T::Values::wait(shared, place);
    wgmma_fence();
    product_abt<kDim, T::kQueries, T::kKeys>(gp, grad_output_tile,
                                             moved(value_tiles, place.stage * T::kKeyBytes));
    wgmma_commit();
    wgmma_wait<1>();
    wgmma_arrived(s);

    if (!at.mask.all_visible(first_query, kGroupRows, block * T::kKeys, T::kKeys))
      rows.hide(s, block * T::kKeys, t);
#pragma unroll
    for (int i = 0; i < T::kKeys / 2; ++i)
      s[i] = exp2_approx(s[i] * scale_log2 - log2_sum[i / 2 % 2]);
    // Ends the basic block: exponentials stay before the next wait (see the forward).
    wgmma_arrived(s);
    T::Values::wait(shared, place);
    wgmma_wait<0>();
    wgmma_arrived(gp);
    T::Values::release(shared, place.stage, lane);
#pragma unroll
    for (int i = 0; i < T::kKeys / 2; ++i) s[i] *= gp[i] - delta[i / 2 % 2];
    pack(gs, s);
    wgmma_fence();
    add_product_ab<T::kKeys, kDim>(sum, gs, moved(key_tiles_outer, place.stage * T::kKeyBytes));
    wgmma_commit();
    place.advance();
  }
  wgmma_wait<0>();
  wgmma_arrived(sum);

  const float scale[2] = {a.shape.scale, a.shape.scale};
  store_query_rows<kDim, T::kQueries>(grad_query, sum, scale, w, T::own_barrier(w), at.head,
                                      first_query, at.batch, shared, shared_bytes);
}
#endif

template <int kDim>
__global__ void __launch_bounds__(QueryTiles<kDim>::Groups::kThreads, 1)
    queries(const __grid_constant__ TensorMap query, const __grid_constant__ TensorMap grad_output,
            const __grid_constant__ TensorMap key, const __grid_constant__ TensorMap value,
            const __grid_constant__ TensorMap grad_query,
            const __grid_constant__ QueryArguments a) {
#if SEQ1F1B_SM90
  using T = QueryTiles<kDim>;
  SEQ1F1B_DYNAMIC_SHARED(shared_bytes);
  const std::uint32_t shared = shared_address(shared_bytes);
  const Queries<kDim> at(
      a.shape, a.query_tiles,
      Work(blockIdx.x, a.shape.micro_batch * a.shape.heads, a.query_tiles, a.section));
  run_roles<typename T::Groups>(
      [&] {
        mbarrier_init(shared + T::kQueryFull, 1);
        T::Keys::initialise(shared, 4 * T::kConsumers);
        T::Values::initialise(shared, 4 * T::kConsumers);
      },
      [&] { load<kDim>(&query, &grad_output, &key, &value, at, shared); },
      [&] { compute<kDim>(&grad_query, a, at, shared, shared_bytes); });
#endif
}

template <int kDim>
void launch(Context& context, const BackwardCall& call) {
  using T = QueryTiles<kDim>;
  const AttentionShape& s = call.operands.shape;
  const int rows = s.micro_batch * s.heads, group = s.heads / s.kv_heads;
  const int query_tiles = (s.tokens + T::kQueries - 1) / T::kQueries;
  const std::int64_t bytes_per_row = std::int64_t{4} * s.key_length * s.head_dim / group;
  const QueryArguments arguments{s,
                                 query_tiles,
                                 rows_per_section(rows, bytes_per_row),
                                 call.padded_tokens,
                                 call.log2_sum,
                                 call.delta};
  allow_shared_bytes(queries<kDim>, T::kSharedBytes);
  SEQ1F1B_LAUNCH((queries<kDim>), dim3(static_cast<unsigned>(rows * query_tiles)),
                 dim3(T::Groups::kThreads), T::kSharedBytes, context.stream, call.query,
                 call.grad_output, call.key, call.value, call.grad_query, arguments);
}

}  // namespace

void backward_queries(Context& context, const BackwardCall& call) {
  for_dim(Sm90BackwardDims{}, call.operands.shape.head_dim,
          [&](auto dim) { launch<decltype(dim)::value>(context, call); });
}

}  // namespace seq1f1b::kernels::cuda::sm90

// Attention backward for Hopper, gradients of keys and values: sums over the queries of
// p_ij grad_output_i and scale g_ij q_i, with p and g as in attention_sm90_backward.cu. In one pass
// also grad_query: sums over the keys of g_ij k_j.
//
// Bytes moved: key and value once, their fp32 gradients written once, and read once where they are
// added to; query, grad_output and two statistics once per block of 128 keys and query head, mostly
// from the L2 cache; in one pass also the sums of grad_query, added to in the L2 cache as often.
//
// Mapping: a block owns 128 keys of one key head, 64 per warp group, and walks the queries that see
// them, of all query heads of the group. Transposed products leave p^T and g^T of 64 keys in the
// registers of a warp group, where they are the operands of its products with grad_output and
// query; both gradients stay in registers to the end. In one pass g^T also goes to shared memory;
// each warp group multiplies it, of all 128 keys, by the keys for half of grad_query (a half of the
// columns, with which a panel of the keys begins, or of the queries where there is one panel of
// columns), which TMA adds to global memory.
// One more warp group loads: two tiles of query and of grad_output are in flight.
//
// Deterministic but for the sums of grad_query in one pass, which TMA adds in any order.
// Limits: those of attention_sm90.h. Run on the emulator of kernels/simt, never on a GPU.
#include <cmath>

#include "kernels/cuda/attention/attention_sm90_backward.h"
#include "kernels/cuda/attention/attention_sm90_roles.h"
#include "kernels/cuda/attention/attention_sm90_tiles.h"

namespace seq1f1b::kernels::cuda::sm90 {

template <int kDim, bool kOnePass>
struct KeyTiles {
  static constexpr int kConsumers = 2;  // warp groups
  static constexpr int kKeys = kBackwardKeys, kStages = 2;
  static_assert(kKeys == kGroupRows * kConsumers);
  // Accumulators per thread: kDim of the gradients and kQueries of the products.
  static constexpr int kQueries = kDim == 64 ? 128 : 64;
  // Whether grad_value's product runs under the computation of g, and grad_key's under the next
  // step's scores. With 128 queries their operands' registers are wanted there.
  static constexpr bool kOverlap = kQueries == 64;
  using Groups = WarpGroups<kConsumers>;

  static constexpr int kKeyBytes = tile_bytes(kKeys, kDim);
  static constexpr int kQueryBytes = tile_bytes(kQueries, kDim);
  static constexpr int kStatisticBytes = kQueries * 4;
  // g^T: panels of kKeys rows of 64 queries; twice, so that one barrier a step is enough.
  static constexpr int kScorePanelBytes = kKeys * kRowBytes;
  static constexpr int kScoreBytes = kOnePass ? kQueries / kPanelWidth * kScorePanelBytes : 0;
  static constexpr int kSumWidth = sum_width(kDim);
  static constexpr int kSumBytes = kOnePass ? kGroupRows * kSumWidth * 4 : 0;  // a warp group's
  // In one pass a warp group's columns of the keys begin a panel.
  static constexpr bool kHalfColumns = panels_of(kDim) == kConsumers;
  static_assert(!kOnePass || kHalfColumns || kQueries / kPanelWidth == kConsumers);
  static constexpr int kKeyStep = kOnePass && kHalfColumns ? kSumWidth : kPanelWidth;
  static_assert(panels_of(kDim) * kKeyStep >= kDim);
  // Shared memory: keys, values, queries, grad_output, g^T, sums of grad_query, statistics,
  // barriers.
  static constexpr int kValue = kKeyBytes, kQuery = 2 * kKeyBytes;
  static constexpr int kScores = kQuery + 2 * kStages * kQueryBytes;
  static constexpr int kSums = kScores + 2 * kScoreBytes;
  static constexpr int kLog2Sum = kSums + kConsumers * kSumBytes;
  static constexpr int kDelta = kLog2Sum + kStages * kStatisticBytes;
  static constexpr int kKeyFull = kDelta + kStages * kStatisticBytes;
  using Queries = Ring<kStages, kQueryBytes, kQuery, kKeyFull + kBarrierBytes>;
  using GradOutputs = Ring<kStages, kQueryBytes, Queries::kTilesEnd, Queries::kBarriersEnd>;
  static_assert(GradOutputs::kTilesEnd == kScores);
  static constexpr int kSharedBytes = GradOutputs::kBarriersEnd;
  static_assert(kStages == 2 && kSharedBytes <= 227 * 1024);
  // Named barriers: of all computing warps, and of warp group w.
  static constexpr int kAllBarrier = 1;
  static constexpr int own_barrier(int w) { return 2 + w; }
};

namespace {

struct KeyArguments {
  AttentionShape shape;
  int key_tiles, section, padded_tokens;
  const float* log2_sum;
  const float* delta;
  float* grad_key;
  float* grad_value;
  float* grad_query_sums;
  bool add;
};

#if SEQ1F1B_SM90

// The key tile of a block, those most queries see first, and its query tiles: the same of each
// query head of the group.
template <int kDim, bool kOnePass>
struct KeyTile {
  int batch, kv_head, first_head, heads, first_key;
  AttentionMask mask;
  TileRange tiles;

  __device__ __forceinline__ KeyTile(const KeyArguments& a, const Work& work)
      : batch(work.row / a.shape.kv_heads),
        kv_head(work.row % a.shape.kv_heads),
        heads(a.shape.heads / a.shape.kv_heads),
        first_key(work.tile * KeyTiles<kDim, kOnePass>::kKeys),
        mask(a.shape, batch) {
    constexpr int kQueries = KeyTiles<kDim, kOnePass>::kQueries;
    first_head = kv_head * heads;
    const TileRange queries = mask.queries_of(first_key, KeyTiles<kDim, kOnePass>::kKeys);
    tiles = {queries.begin / kQueries,
             max(queries.begin / kQueries, (queries.end + kQueries - 1) / kQueries)};
  }
};

// One thread.
template <int kDim, bool kOnePass>
__device__ __forceinline__ void load(const TensorMap* query, const TensorMap* grad_output,
                                     const TensorMap* key, const TensorMap* value,
                                     const KeyArguments& a, const KeyTile<kDim, kOnePass>& at,
                                     std::uint32_t shared) {
  using T = KeyTiles<kDim, kOnePass>;
  if (at.tiles.begin == at.tiles.end) return;
  const std::uint32_t key_full = shared + T::kKeyFull;
  mbarrier_arrive_expect(key_full, 2 * T::kKeyBytes);
  load_key_tile<T::kKeys, kDim, T::kKeyStep>(shared, key, at.kv_head, at.first_key, at.batch,
                                             key_full);
  load_key_tile<T::kKeys, kDim>(shared + T::kValue, value, at.kv_head, at.first_key, at.batch,
                                key_full);
  typename T::Queries::Place query_place;
  typename T::GradOutputs::Place grad_output_place;
  for (int head = at.first_head; head < at.first_head + at.heads; ++head)
    for (int tile = at.tiles.begin; tile < at.tiles.end; ++tile) {
      const std::int64_t statistics =
          static_cast<std::int64_t>(at.batch * a.shape.heads + head) * a.padded_tokens +
          tile * T::kQueries;
      // A tile and a statistic of its rows, which has as many places as the ring.
      const auto load_pair = [&](const TensorMap* map, int place, const float* statistic) {
        return [&, map, place, statistic](std::uint32_t to, std::uint32_t barrier) {
          load_query_tile<T::kQueries, kDim>(to, map, head, tile * T::kQueries, at.batch, barrier);
          bulk_load(shared + place, statistic + statistics, T::kStatisticBytes, barrier);
        };
      };
      constexpr int kBytes = T::kQueryBytes + T::kStatisticBytes;
      T::Queries::template fill<kBytes>(
          shared, query_place,
          load_pair(query, T::kLog2Sum + query_place.stage * T::kStatisticBytes, a.log2_sum));
      T::GradOutputs::template fill<kBytes>(
          shared, grad_output_place,
          load_pair(grad_output, T::kDelta + grad_output_place.stage * T::kStatisticBytes,
                    a.delta));
    }
}

// Writes 64 rows of a gradient, or adds to it.
template <int kDim>
__device__ __forceinline__ void store_gradient(float* gradient, const float (&sum)[kDim / 2],
                                               float scale, const KeyArguments& a, int batch,
                                               int kv_head, int first_row, int g, int t) {
  const AttentionShape& s = a.shape;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = first_row + g + 8 * r;
    if (row >= s.key_length) continue;
    float* const out =
        gradient +
        ((static_cast<std::int64_t>(batch) * s.kv_heads + kv_head) * s.capacity + row) * s.head_dim;
#pragma unroll
    for (int j = 0; j < kDim / 8; ++j) {
      const int column = j * 8 + t * 2;
      if (column >= s.head_dim) continue;
      auto* const pair = reinterpret_cast<float2*>(out + column);
      float2 result = make_float2(sum[4 * j + 2 * r] * scale, sum[4 * j + 2 * r + 1] * scale);
      if (a.add) {
        const float2 before = *pair;
        result.x += before.x;
        result.y += before.y;
      }
      *pair = result;
    }
  }
}

// A warp group: 64 keys.
template <int kDim, bool kOnePass>
__device__ __forceinline__ void compute(const KeyArguments& a, const KeyTile<kDim, kOnePass>& at,
                                        std::uint32_t shared, unsigned char* shared_bytes) {
  using T = KeyTiles<kDim, kOnePass>;
  constexpr int kProducts = T::kQueries / 2;  // registers of a product
  const int thread = threadIdx.x % kGroup, warp = thread / 32, lane = thread % 32;
  const int g = lane / 4, t = lane % 4;
  const int w = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / kGroup - 1, 0);
  const int first_key = at.first_key + w * kGroupRows;
  const int key_row = first_key + warp * 16 + g;

  const std::uint64_t key_tile = panel_descriptor(shared + w * kGroupRows * kRowBytes);
  const std::uint64_t value_tile =
      panel_descriptor(shared + T::kValue + w * kGroupRows * kRowBytes);
  const std::uint64_t query_tiles = panel_descriptor(shared + T::kQuery);
  const std::uint64_t grad_output_tiles = panel_descriptor(shared + T::Queries::kTilesEnd);
  const std::uint64_t query_outer = panel_descriptor(shared + T::kQuery, T::kQueries * kRowBytes);
  const std::uint64_t grad_output_outer =
      panel_descriptor(shared + T::Queries::kTilesEnd, T::kQueries * kRowBytes);
  // In one pass: this warp group's panel of g^T and of the keys (one of the two has only one).
  const std::uint64_t score_panel =
      panel_descriptor(shared + T::kScores + (T::kHalfColumns ? 0 : w * T::kScorePanelBytes));
  const std::uint64_t key_panel =
      panel_descriptor(shared + (T::kHalfColumns ? w * T::kKeys * kRowBytes : 0));
  const float scale_log2 = a.shape.scale * kLog2E;

  float grad_key[kDim / 2], grad_value[kDim / 2];
#pragma unroll
  for (int i = 0; i < kDim / 2; ++i) grad_key[i] = grad_value[i] = 0;
  float s[kProducts], gp[kProducts];
  std::uint32_t p[kProducts / 2], gs[kProducts / 2];

  int head = at.first_head, tile = at.tiles.begin;
  const int steps = at.heads * (at.tiles.end - at.tiles.begin);
  // The last wait stands in the same branch as the loop, which is one over heads and tiles: else
  // ptxas moves the gradients' registers while products are under way, for which it would make
  // products wait for each other.
  if (steps > 0) {
    mbarrier_wait(shared + T::kKeyFull, 0);
    typename T::Queries::Place place;  // GradOutputs', too
    for (int step = 0; step < steps; ++step, place.advance()) {
      const int stage = place.stage, first_query = tile * T::kQueries;
      T::Queries::wait(shared, place);
      wgmma_fence();
      product_abt<kDim, T::kKeys, T::kQueries, T::kKeyStep>(
          s, key_tile, moved(query_tiles, stage * T::kQueryBytes));
      wgmma_commit();
      // The gradients' products of the step before are done: operands and tiles are free.
      wgmma_wait<1>();
      wgmma_arrived(grad_value);
      wgmma_arrived(grad_key);
      if (step > 0) {
        T::Queries::release(shared, stage ^ 1, lane);
        T::GradOutputs::release(shared, stage ^ 1, lane);
      }
      T::GradOutputs::wait(shared, place);
      wgmma_fence();
      product_abt<kDim, T::kKeys, T::kQueries>(gp, value_tile,
                                               moved(grad_output_tiles, stage * T::kQueryBytes));
      wgmma_commit();

      wgmma_wait<1>();
      wgmma_arrived(s);
      if (!at.mask.all_visible(first_query, T::kQueries, first_key, kGroupRows)) {
#pragma unroll
        for (int i = 0; i < kProducts; ++i) {
          const int query = first_query + i / 4 * 8 + t * 2 + i % 2, key = key_row + i / 2 % 2 * 8;
          if (key < at.mask.first_key(query) || key >= at.mask.last_key(query)) s[i] = -INFINITY;
        }
      }
      const auto* const log2_sum =
          reinterpret_cast<const float2*>(shared_bytes + T::kLog2Sum + stage * T::kStatisticBytes);
#pragma unroll
      for (int j = 0; j < T::kQueries / 8; ++j) {
        const float2 sums = log2_sum[j * 4 + t];
#pragma unroll
        for (int e = 0; e < 4; ++e)
          s[4 * j + e] = exp2_approx(s[4 * j + e] * scale_log2 - (e % 2 ? sums.y : sums.x));
      }
      pack(p, s);
      wgmma_fence();
      add_product_ab<T::kQueries, kDim>(grad_value, p,
                                        moved(grad_output_outer, stage * T::kQueryBytes));
      wgmma_commit();

      wgmma_wait<T::kOverlap ? 1 : 0>();
      wgmma_arrived(gp);
      const auto* const delta =
          reinterpret_cast<const float2*>(shared_bytes + T::kDelta + stage * T::kStatisticBytes);
#pragma unroll
      for (int j = 0; j < T::kQueries / 8; ++j) {
        const float2 deltas = delta[j * 4 + t];
#pragma unroll
        for (int e = 0; e < 4; ++e) s[4 * j + e] *= gp[4 * j + e] - (e % 2 ? deltas.y : deltas.x);
      }
      pack(gs, s);
      const std::uint64_t query_stage = moved(query_outer, stage * T::kQueryBytes);
      if constexpr (!kOnePass) {
        wgmma_fence();
        add_product_ab<T::kQueries, kDim>(grad_key, gs, query_stage);
        wgmma_commit();
      } else {
        const int buffer = stage * T::kScoreBytes;
#pragma unroll
        for (int r = 0; r < 2; ++r)
#pragma unroll
          for (int j = 0; j < T::kQueries / 8; ++j) {
            const int row = w * kGroupRows + warp * 16 + g + 8 * r;
            *reinterpret_cast<std::uint32_t*>(shared_bytes + T::kScores + buffer +
                                              pair_offset<T::kKeys>(row, j, t)) = gs[2 * j + r];
          }
        fence_proxy_async();
        barrier_sync(T::kAllBarrier, T::kConsumers * kGroup);
        float sum[T::kSumWidth / 2];
        wgmma_fence();
#pragma unroll
        for (int k = 0; k < T::kKeys / 16; ++k) {
          const auto a_k = moved(score_panel, buffer + k * 16 * kRowBytes);
          const auto b_k = moved(key_panel, k * 16 * kRowBytes);
          if (k == 0)
            wgmma_ss<T::kSumWidth, Along::kOuter, Along::kOuter, false>(sum, a_k, b_k);
          else
            wgmma_ss<T::kSumWidth, Along::kOuter, Along::kOuter, true>(sum, a_k, b_k);
        }
        wgmma_commit();
        add_product_ab<T::kQueries, kDim>(grad_key, gs, query_stage);
        wgmma_commit();
        wgmma_wait<1>();
        wgmma_arrived(sum);

        // Once TMA has read the sums of the step before, these take their place.
        if (thread == 0) bulk_wait_read<0>();
        barrier_sync(T::own_barrier(w), kGroup);
        const int slot = T::kSums + w * T::kSumBytes;
        auto* const sums = reinterpret_cast<float4*>(shared_bytes + slot);
#pragma unroll
        for (int j = 0; j < T::kSumWidth / 8; ++j)
          sums[j * kGroup + thread] =
              make_float4(sum[4 * j], sum[4 * j + 1], sum[4 * j + 2], sum[4 * j + 3]);
        fence_proxy_async();
        barrier_sync(T::own_barrier(w), kGroup);
        if (thread == 0) {
          constexpr int kParts = T::kHalfColumns ? T::kConsumers : 1;
          const std::int64_t block =
              (static_cast<std::int64_t>(at.batch * a.shape.heads + head) * a.padded_tokens +
               first_query) /
                  kGroupRows * kParts +
              w;
          bulk_reduce_add_f32(a.grad_query_sums + block * (kGroupRows * T::kSumWidth),
                              shared + slot, T::kSumBytes);
          bulk_commit();
        }
      }
      if constexpr (!T::kOverlap) {
        wgmma_wait<0>();
        wgmma_arrived(grad_value);
        wgmma_arrived(grad_key);
      }
      if (++tile == at.tiles.end) tile = at.tiles.begin, ++head;
    }
    wgmma_wait<0>();
    wgmma_arrived(grad_value);
    wgmma_arrived(grad_key);
  }
  store_gradient<kDim>(a.grad_value, grad_value, 1, a, at.batch, at.kv_head, first_key + warp * 16,
                       g, t);
  store_gradient<kDim>(a.grad_key, grad_key, a.shape.scale, a, at.batch, at.kv_head,
                       first_key + warp * 16, g, t);
  if (kOnePass && thread == 0) bulk_wait_read<0>();
}
#endif

template <int kDim, bool kOnePass>
__global__ void __launch_bounds__(KeyTiles<kDim, kOnePass>::Groups::kThreads, 1)
    keys(const __grid_constant__ TensorMap query, const __grid_constant__ TensorMap grad_output,
         const __grid_constant__ TensorMap key, const __grid_constant__ TensorMap value,
         const __grid_constant__ KeyArguments a) {
#if SEQ1F1B_SM90
  using T = KeyTiles<kDim, kOnePass>;
  SEQ1F1B_DYNAMIC_SHARED(shared_bytes);
  const std::uint32_t shared = shared_address(shared_bytes);
  const KeyTile<kDim, kOnePass> at(
      a, Work(blockIdx.x, a.shape.micro_batch * a.shape.kv_heads, a.key_tiles, a.section));
  run_roles<typename T::Groups>(
      [&] {
        mbarrier_init(shared + T::kKeyFull, 1);
        T::Queries::initialise(shared, 4 * T::kConsumers);
        T::GradOutputs::initialise(shared, 4 * T::kConsumers);
      },
      [&] { load<kDim, kOnePass>(&query, &grad_output, &key, &value, a, at, shared); },
      [&] { compute<kDim, kOnePass>(a, at, shared, shared_bytes); });
#endif
}

template <int kDim, bool kOnePass>
void launch(Context& context, const BackwardCall& call) {
  using T = KeyTiles<kDim, kOnePass>;
  const AttentionShape& s = call.operands.shape;
  const int rows = s.micro_batch * s.kv_heads, group = s.heads / s.kv_heads;
  const int key_tiles = (s.key_length + T::kKeys - 1) / T::kKeys;
  // Query and grad_output of a group, and in one pass the sums of grad_query.
  const std::int64_t bytes_per_row = std::int64_t{kOnePass ? 8 : 4} * s.tokens * s.head_dim * group;
  const KeyArguments arguments{s,
                               key_tiles,
                               rows_per_section(rows, bytes_per_row),
                               call.padded_tokens,
                               call.log2_sum,
                               call.delta,
                               call.operands.grad_key,
                               call.operands.grad_value,
                               call.grad_query_sums,
                               call.operands.add};
  allow_shared_bytes(keys<kDim, kOnePass>, T::kSharedBytes);
  SEQ1F1B_LAUNCH((keys<kDim, kOnePass>), dim3(static_cast<unsigned>(rows * key_tiles)),
                 dim3(T::Groups::kThreads), T::kSharedBytes, context.stream, call.query,
                 call.grad_output, call.key, call.value, arguments);
}

}  // namespace

void backward_keys(Context& context, const BackwardCall& call) {
  for_dim(Sm90BackwardDims{}, call.operands.shape.head_dim, [&](auto dim) {
    constexpr int kDim = decltype(dim)::value;
    call.grad_query_sums ? launch<kDim, true>(context, call) : launch<kDim, false>(context, call);
  });
}

}  // namespace seq1f1b::kernels::cuda::sm90

// Attention forward for Hopper.
//
// Formula: output_i = sum_j softmax_j(scale q_i . k_j) v_j over the visible keys j of query i, and
// log_sum_exp_i = ln sum_j exp(scale q_i . k_j). Keys are walked from the last visible block to the
// first with running maximum m and sum l (Milakov and Gimelshein, arXiv 1805.02867; Dao et al.,
// arXiv 2205.14135), in base two: 2^(c s - c m), c = scale log2 e. The overlap of products and
// softmax follows Shah et al., arXiv 2407.08608.
//
// Bytes moved: query, output, log_sum_exp once; key and value once per block of kQueries queries,
// mostly from the L2 cache: blocks of as many heads as fit there run before those of the next
// heads.
//
// Mapping: a block computes kQueries queries of one head, 64 per warp group; one more warp group
// loads: one of its threads keeps two key and two value tiles in flight by TMA. A warp group issues
// the scores of the next key block, then the output of this one, and computes the next softmax
// while the latter runs. The warp groups take turns in issuing, so that one's softmax runs under
// the other's products. Blocks with most keys start first. Only key blocks that a mask cuts are
// masked.
//
// Deterministic: every sum has a fixed order.
// Limits: those of attention_sm90.h. Run on the emulator of kernels/simt, never on a GPU.
#include <algorithm>
#include <cmath>

#include "kernels/cuda/attention/attention_sm90.h"
#include "kernels/cuda/attention/attention_sm90_query_tile.h"
#include "kernels/cuda/attention/attention_sm90_roles.h"
#include "kernels/cuda/attention/attention_sm90_tiles.h"

namespace seq1f1b::kernels::cuda {
namespace sm90 {

template <int kDim>
struct ForwardTiles {
  static constexpr Sm90ForwardTuning kTuning = tuning_of(kSm90ForwardTuning, kDim);
  static constexpr int kConsumers = kTuning.consumers;
  static constexpr int kQueries = kGroupRows * kConsumers, kKeys = kTuning.keys, kStages = 2;
  using Groups = WarpGroups<kConsumers>;

  static constexpr int kQueryBytes = tile_bytes(kQueries, kDim);
  static constexpr int kKeyBytes = tile_bytes(kKeys, kDim);
  // Shared memory: query (later output), keys, values, barriers.
  static constexpr int kQueryFull = kQueryBytes + 2 * kStages * kKeyBytes;
  using Keys = Ring<kStages, kKeyBytes, kQueryBytes, kQueryFull + kBarrierBytes>;
  using Values = Ring<kStages, kKeyBytes, Keys::kTilesEnd, Keys::kBarriersEnd>;
  static_assert(Values::kTilesEnd == kQueryFull);
  static constexpr int kSharedBytes = Values::kBarriersEnd;
  static_assert(kSharedBytes <= 227 * 1024);
  // Named barriers: of warp group w its turn to issue, and its own.
  static constexpr int turn_barrier(int w) { return 1 + w; }
  static constexpr int own_barrier(int w) { return 1 + kConsumers + w; }
};

}  // namespace sm90
namespace {

using namespace sm90;

template <int kDim>
using Tiles = ForwardTiles<kDim>;

struct Arguments {
  AttentionShape shape;
  int query_tiles, section;
  float* log_sum_exp;
};

#if SEQ1F1B_SM90

template <int kDim>
using Queries = QueryTile<Tiles<kDim>::kQueries, Tiles<kDim>::kKeys>;

// One thread: keeps the rings of key and value tiles full, keys one block ahead of values.
template <int kDim>
__device__ __forceinline__ void load(const TensorMap* query, const TensorMap* key,
                                     const TensorMap* value, const Queries<kDim>& at,
                                     std::uint32_t shared) {
  using T = Tiles<kDim>;
  tma_prefetch_map(key);
  tma_prefetch_map(value);
  mbarrier_arrive_expect(shared + T::kQueryFull, T::kQueryBytes);
  load_query_tile<T::kQueries, kDim>(shared, query, at.head, at.first_query, at.batch,
                                     shared + T::kQueryFull);
  const auto load_block = [&](const TensorMap* map, int block) {
    return [&at, map, block](std::uint32_t tile, std::uint32_t barrier) {
      load_key_tile<T::kKeys, kDim>(tile, map, at.kv_head, block * T::kKeys, at.batch, barrier);
    };
  };
  typename T::Keys::Place key_place;
  typename T::Values::Place value_place;
  T::Keys::fill(shared, key_place, load_block(key, at.keys.end - 1));
  for (int block = at.keys.end - 1; block >= at.keys.begin; --block) {
    if (block > at.keys.begin) T::Keys::fill(shared, key_place, load_block(key, block - 1));
    T::Values::fill(shared, value_place, load_block(value, block));
  }
}

// Running statistics of the two rows that a thread has a part of, g and g + 8.
struct Softmax {
  float highest[2] = {-INFINITY, -INFINITY};  // of the scores, unscaled
  float sum[2] = {0, 0};                      // this thread's columns only, until the end
  float correction[2];                        // what the last update made of older sums

  // Turns a block's scores into exponentials. kMasked: a row may have seen nothing yet.
  template <bool kMasked, int kCount>
  __device__ __forceinline__ void update(float (&s)[kCount], float scale_log2) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float block_highest = s[2 * r];
#pragma unroll
      for (int i = 0; i < kCount; i += 4)
        block_highest = fmaxf(block_highest, fmaxf(s[i + 2 * r], s[i + 2 * r + 1]));
      const float now = fmaxf(highest[r], row_max(block_highest));
      const float reference = kMasked && now == -INFINITY ? 0 : now;
      const float base = reference * scale_log2;
      // The difference first: it must be one while the highest stays, and a product that is fused
      // with the subtraction of its own rounded value is not zero.
      correction[r] = exp2_approx((highest[r] - reference) * scale_log2);
      highest[r] = now;
      float block_sum = 0;
#pragma unroll
      for (int i = 0; i < kCount; i += 4)
#pragma unroll
        for (int e = i + 2 * r; e < i + 2 * r + 2; ++e) {
          s[e] = exp2_approx(s[e] * scale_log2 - base);
          block_sum += s[e];
        }
      sum[r] = sum[r] * correction[r] + block_sum;
    }
  }
  template <int kCount>
  __device__ __forceinline__ void correct(float (&o)[kCount]) const {
#pragma unroll
    for (int i = 0; i < kCount; ++i) o[i] *= correction[i / 2 % 2];
  }
};

// A warp group: 64 queries.
template <int kDim>
__device__ __forceinline__ void compute(const TensorMap* output, const Arguments& a,
                                        const Queries<kDim>& at, std::uint32_t shared,
                                        unsigned char* shared_bytes) {
  using T = Tiles<kDim>;
  const int thread = threadIdx.x % kGroup, lane = thread % 32, t = lane % 4;
  const int w = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / kGroup - 1, 0);
  const int first_query = at.first_query + w * kGroupRows;
  const RowPair rows(at.mask, first_query, thread);
  // Blocks in [full.begin, full.end) are seen whole by all rows of the warp group.
  const TileRange full = {
      (at.mask.first_key(first_query + kGroupRows - 1) + T::kKeys - 1) / T::kKeys,
      at.mask.last_key(first_query) / T::kKeys};
  const auto mask = [&](float(&s)[T::kKeys / 2], int block) { rows.hide(s, block * T::kKeys, t); };
  const auto take_turn = [&] { barrier_sync(T::turn_barrier(w), 2 * kGroup); };
  const auto pass_turn = [&](bool last) {
    const int next = w + 1 == T::kConsumers ? 0 : w + 1;
    if (!(last && next == 0)) barrier_arrive(T::turn_barrier(next), 2 * kGroup);
  };
  const std::uint64_t query_tile = panel_descriptor(shared + w * kGroupRows * kRowBytes);
  const std::uint64_t key_tiles = panel_descriptor(shared + T::kQueryBytes);
  const std::uint64_t value_tiles =
      panel_descriptor(shared + T::Keys::kTilesEnd, T::kKeys * kRowBytes);
  const float scale_log2 = a.shape.scale * kLog2E;

  float s[T::kKeys / 2], o[kDim / 2];
  std::uint32_t exponentials[T::kKeys / 4];
  Softmax softmax;
  typename T::Keys::Place key_place;
  typename T::Values::Place value_place;
#pragma unroll
  for (int i = 0; i < kDim / 2; ++i) o[i] = 0;

  const auto issue_scores = [&] {
    T::Keys::wait(shared, key_place);
    wgmma_fence();
    product_abt<kDim, T::kQueries, T::kKeys>(s, query_tile,
                                             moved(key_tiles, key_place.stage * T::kKeyBytes));
    wgmma_commit();
  };
  const auto issue_output = [&] {
    T::Values::wait(shared, value_place);
    wgmma_fence();
    add_product_ab<T::kKeys, kDim>(o, exponentials,
                                   moved(value_tiles, value_place.stage * T::kKeyBytes));
    wgmma_commit();
  };

  mbarrier_wait(shared + T::kQueryFull, 0);
  if (w == T::kConsumers - 1) pass_turn(false);  // the first turn is warp group 0's
  take_turn();
  issue_scores();
  pass_turn(at.keys.end - at.keys.begin == 1);
  wgmma_wait<0>();
  wgmma_arrived(s);
  T::Keys::release(shared, key_place.stage, lane);
  key_place.advance();
  mask(s, at.keys.end - 1);
  softmax.update<true>(s, scale_log2);
  pack(exponentials, s);

  const auto step = [&]<bool kMasked>(int block) {
    take_turn();
    issue_scores();
    issue_output();
    pass_turn(block == at.keys.begin);
    wgmma_wait<1>();
    wgmma_arrived(s);
    T::Keys::release(shared, key_place.stage, lane);
    key_place.advance();
    if constexpr (kMasked) mask(s, block);
    softmax.update<kMasked>(s, scale_log2);
    // The exponentials belong before the wait for the output; the assembler moves waits up within a
    // basic block, and this one, which passes at once, ends it.
    wgmma_arrived(s);
    T::Values::wait(shared, value_place);
    wgmma_wait<0>();
    wgmma_arrived(o);
    T::Values::release(shared, value_place.stage, lane);
    value_place.advance();
    softmax.correct(o);
    pack(exponentials, s);
  };
  int block = at.keys.end - 2;
  for (; block >= at.keys.begin && block >= full.end; --block)
    step.template operator()<true>(block);
  for (; block >= at.keys.begin && block >= full.begin; --block)
    step.template operator()<false>(block);
  for (; block >= at.keys.begin; --block) step.template operator()<true>(block);

  issue_output();
  wgmma_wait<0>();
  wgmma_arrived(o);

  float inverse[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float sum = row_sum(softmax.sum[r]);
    inverse[r] = 1 / sum;
    if (t == 0 && rows.row[r] < a.shape.tokens)
      a.log_sum_exp[static_cast<std::int64_t>(at.row) * a.shape.tokens + rows.row[r]] =
          softmax.highest[r] * a.shape.scale + logf(sum);
  }
  store_query_rows<kDim, T::kQueries>(output, o, inverse, w, T::own_barrier(w), at.head,
                                      first_query, at.batch, shared, shared_bytes);
}
#endif

template <int kDim>
__global__ void __launch_bounds__(Tiles<kDim>::Groups::kThreads, 1)
    forward(const __grid_constant__ TensorMap query, const __grid_constant__ TensorMap key,
            const __grid_constant__ TensorMap value, const __grid_constant__ TensorMap output,
            const __grid_constant__ Arguments a) {
#if SEQ1F1B_SM90
  using T = Tiles<kDim>;
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
      [&] { load<kDim>(&query, &key, &value, at, shared); },
      [&] { compute<kDim>(&output, a, at, shared, shared_bytes); });
#endif
}

template <int kDim>
bool launch(Context& context, const AttentionForward& operands) {
  using T = Tiles<kDim>;
  const AttentionShape& s = operands.shape;
  const TensorMapShape query_map = query_map_shape(s), key_map = key_map_shape(s, T::kKeys);
  if (!maps_serve(query_map, {operands.query, operands.output}) ||
      !maps_serve(key_map, {operands.key, operands.value}))
    return false;
  const int rows = s.micro_batch * s.heads, group = s.heads / s.kv_heads;
  const int query_tiles = (s.tokens + T::kQueries - 1) / T::kQueries;
  const std::int64_t bytes_per_row = std::int64_t{4} * s.key_length * s.head_dim / group;
  const Arguments arguments{s, query_tiles, rows_per_section(rows, bytes_per_row),
                            operands.log_sum_exp};
  allow_shared_bytes(forward<kDim>, T::kSharedBytes);
  SEQ1F1B_LAUNCH((forward<kDim>), dim3(static_cast<unsigned>(rows * query_tiles)),
                 dim3(T::Groups::kThreads), T::kSharedBytes, context.stream,
                 make_tensor_map(operands.query, query_map), make_tensor_map(operands.key, key_map),
                 make_tensor_map(operands.value, key_map),
                 make_tensor_map(operands.output, query_map), arguments);
  return true;
}

}  // namespace

bool attention_sm90_forward(Context& context, const AttentionForward& operands) {
  const AttentionShape& shape = operands.shape;
  if (!serves(context, shape, kSm90MaxForwardHeadDim)) return false;
  return for_dim(Sm90ForwardDims{}, shape.head_dim,
                 [&](auto dim) { return launch<decltype(dim)::value>(context, operands); });
}

}  // namespace seq1f1b::kernels::cuda

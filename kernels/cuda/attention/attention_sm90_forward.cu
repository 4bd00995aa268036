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
// Limits: those of attention_sm90.h. Run on the emulator of tests/simt, never on a GPU.
#include <algorithm>
#include <cmath>

#include "kernels/cuda/attention/attention_sm90.h"
#include "kernels/cuda/attention/attention_sm90_tiles.h"

namespace seq1f1b::kernels::cuda {
namespace sm90 {

template <int kDim>
struct ForwardTiles {
  static constexpr Sm90ForwardTuning kTuning = tuning_of(kSm90ForwardTuning, kDim);
  static constexpr int kConsumers = kTuning.consumers;
  static constexpr int kQueries = kGroupRows * kConsumers, kKeys = kTuning.keys, kStages = 2;
  static constexpr int kThreads = kGroup * (kConsumers + 1);
  // Registers per thread; the sum over all threads is what the launch allots, at most 64 Ki.
  static constexpr int kProducerRegisters = kConsumers == 2 ? 24 : 32;
  static constexpr int kConsumerRegisters = kConsumers == 2 ? 240 : 160;

  static constexpr int kQueryBytes = tile_bytes(kQueries, kDim);
  static constexpr int kKeyBytes = tile_bytes(kKeys, kDim);
  // Shared memory: query (later output), keys, values, barriers.
  static constexpr int kKey = kQueryBytes, kValue = kKey + kStages * kKeyBytes;
  static constexpr int kBarriers = kValue + kStages * kKeyBytes;
  static constexpr int kKeyFull = kBarriers, kKeyEmpty = kKeyFull + kStages * kBarrierBytes;
  static constexpr int kValueFull = kKeyEmpty + kStages * kBarrierBytes;
  static constexpr int kValueEmpty = kValueFull + kStages * kBarrierBytes;
  static constexpr int kQueryFull = kValueEmpty + kStages * kBarrierBytes;
  static constexpr int kSharedBytes = kQueryFull + kBarrierBytes;
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

// The query tile of a block, longest first, and its key blocks.
template <int kDim>
struct QueryTile {
  int row, batch, head, first_query;
  AttentionMask mask;
  TileRange keys;

  __device__ __forceinline__ QueryTile(const Arguments& a, const Work& work)
      : row(work.row),
        batch(work.row / a.shape.heads),
        head(work.row % a.shape.heads),
        first_query((a.query_tiles - 1 - work.tile) * Tiles<kDim>::kQueries),
        mask(a.shape, batch),
        keys(mask.key_tiles(first_query, Tiles<kDim>::kQueries, Tiles<kDim>::kKeys)) {}
};

// One thread: keeps the rings of key and value tiles full, keys one block ahead of values.
template <int kDim>
__device__ __forceinline__ void load(const TensorMap* query, const TensorMap* key,
                                     const TensorMap* value, const AttentionShape& shape,
                                     const QueryTile<kDim>& at, std::uint32_t shared) {
  using T = Tiles<kDim>;
  tma_prefetch_map(key);
  tma_prefetch_map(value);
  mbarrier_arrive_expect(shared + T::kQueryFull, T::kQueryBytes);
  load_query_tile<T::kQueries, kDim>(shared, query, at.head, at.first_query, at.batch,
                                     shared + T::kQueryFull);
  const int kv_head = at.head / (shape.heads / shape.kv_heads);
  const auto load_next = [&](const TensorMap* map, int block, RingPlace<T::kStages>& place,
                             int tiles, int full, int empty) {
    const std::uint32_t barrier = shared + full + place.stage * kBarrierBytes;
    mbarrier_wait(shared + empty + place.stage * kBarrierBytes, place.parity ^ 1);
    mbarrier_arrive_expect(barrier, T::kKeyBytes);
    load_key_tile<T::kKeys, kDim>(shared + tiles + place.stage * T::kKeyBytes, map, kv_head,
                                  block * T::kKeys, at.batch, barrier);
    place.advance();
  };
  RingPlace<T::kStages> key_place, value_place;
  load_next(key, at.keys.end - 1, key_place, T::kKey, T::kKeyFull, T::kKeyEmpty);
  for (int block = at.keys.end - 1; block >= at.keys.begin; --block) {
    if (block > at.keys.begin)
      load_next(key, block - 1, key_place, T::kKey, T::kKeyFull, T::kKeyEmpty);
    load_next(value, block, value_place, T::kValue, T::kValueFull, T::kValueEmpty);
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
      const float base = kMasked && now == -INFINITY ? 0 : now * scale_log2;
      correction[r] = exp2_approx(highest[r] * scale_log2 - base);
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
                                        const QueryTile<kDim>& at, std::uint32_t shared,
                                        unsigned char* shared_bytes) {
  using T = Tiles<kDim>;
  const int thread = threadIdx.x % kGroup, warp = thread / 32, lane = thread % 32;
  const int g = lane / 4, t = lane % 4;
  const int w = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / kGroup - 1, 0);
  const int first_query = at.first_query + w * kGroupRows;

  // The rows of this thread. Those beyond the last token are computed like it and not written.
  const int row[2] = {first_query + warp * 16 + g, first_query + warp * 16 + g + 8};
  int first_key[2];
  unsigned keys[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    first_key[r] = at.mask.first_key(row[r]);
    keys[r] = at.mask.last_key(row[r]) - first_key[r];
  }
  // Blocks in [full.begin, full.end) are seen whole by all rows of the warp group.
  const TileRange full = {
      (at.mask.first_key(first_query + kGroupRows - 1) + T::kKeys - 1) / T::kKeys,
      at.mask.last_key(first_query) / T::kKeys};
  const auto mask = [&](float(&s)[T::kKeys / 2], int block) {
#pragma unroll
    for (int i = 0; i < T::kKeys / 2; ++i) {
      const int column = block * T::kKeys + i / 4 * 8 + t * 2 + i % 2, r = i / 2 % 2;
      if (static_cast<unsigned>(column - first_key[r]) >= keys[r]) s[i] = -INFINITY;
    }
  };

  const auto take_turn = [&] { barrier_sync(T::turn_barrier(w), 2 * kGroup); };
  const auto pass_turn = [&](bool last) {
    const int next = w + 1 == T::kConsumers ? 0 : w + 1;
    if (!(last && next == 0)) barrier_arrive(T::turn_barrier(next), 2 * kGroup);
  };
  const auto release = [&](int empty, int stage) {
    if (lane == 0) mbarrier_arrive(shared + empty + stage * kBarrierBytes);
  };
  const std::uint64_t query_tile = panel_descriptor(shared + w * kGroupRows * kRowBytes);
  const std::uint64_t key_tiles = panel_descriptor(shared + T::kKey);
  const std::uint64_t value_tiles = panel_descriptor(shared + T::kValue, T::kKeys * kRowBytes);
  const float scale_log2 = a.shape.scale * kLog2E;

  float s[T::kKeys / 2], o[kDim / 2];
  std::uint32_t exponentials[T::kKeys / 4];
  Softmax softmax;
  RingPlace<T::kStages> key_place, value_place;
#pragma unroll
  for (int i = 0; i < kDim / 2; ++i) o[i] = 0;

  const auto issue_scores = [&] {
    mbarrier_wait(shared + T::kKeyFull + key_place.stage * kBarrierBytes, key_place.parity);
    wgmma_fence();
    product_abt<kDim, T::kQueries, T::kKeys>(s, query_tile,
                                             moved(key_tiles, key_place.stage * T::kKeyBytes));
    wgmma_commit();
  };
  const auto issue_output = [&] {
    mbarrier_wait(shared + T::kValueFull + value_place.stage * kBarrierBytes, value_place.parity);
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
  release(T::kKeyEmpty, key_place.stage);
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
    release(T::kKeyEmpty, key_place.stage);
    key_place.advance();
    if constexpr (kMasked) mask(s, block);
    softmax.update<kMasked>(s, scale_log2);
    // The exponentials belong before the wait for the output; the assembler moves waits up within a
    // basic block, and this one, which passes at once, ends it.
    wgmma_arrived(s);
    mbarrier_wait(shared + T::kValueFull + value_place.stage * kBarrierBytes, value_place.parity);
    wgmma_wait<0>();
    wgmma_arrived(o);
    release(T::kValueEmpty, value_place.stage);
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

  // The output goes where this warp group's queries were, and from there to memory. A warp's wait
  // is for its own part of a product; the manual does not say which rows the others still read.
  barrier_sync(T::own_barrier(w), kGroup);
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float sum = row_sum(softmax.sum[r]), inverse = 1 / sum;
    const int local = warp * 16 + g + 8 * r;
#pragma unroll
    for (int j = 0; j < kDim / 8; ++j) {
      const int offset = pair_offset<T::kQueries>(w * kGroupRows + local, j, t);
      *reinterpret_cast<std::uint32_t*>(shared_bytes + offset) =
          pack_bf16(o[4 * j + 2 * r] * inverse, o[4 * j + 2 * r + 1] * inverse);
    }
    if (t == 0 && row[r] < a.shape.tokens)
      a.log_sum_exp[static_cast<std::int64_t>(at.row) * a.shape.tokens + row[r]] =
          softmax.highest[r] * a.shape.scale + logf(sum);
  }
  fence_proxy_async();
  barrier_sync(T::own_barrier(w), kGroup);
  if (thread == 0) {
#pragma unroll
    for (int panel = 0; panel < panels_of(kDim); ++panel)
      tma_store_4d(output, panel * kPanelWidth, at.head, first_query, at.batch,
                   shared + (panel * T::kQueries + w * kGroupRows) * kRowBytes);
    bulk_commit();
    bulk_wait_read<0>();
  }
}
#endif

template <int kDim>
__global__ void __launch_bounds__(Tiles<kDim>::kThreads, 1)
    forward(const __grid_constant__ TensorMap query, const __grid_constant__ TensorMap key,
            const __grid_constant__ TensorMap value, const __grid_constant__ TensorMap output,
            const __grid_constant__ Arguments a) {
#if SEQ1F1B_SM90
  using T = Tiles<kDim>;
  SEQ1F1B_DYNAMIC_SHARED(shared_bytes);
  const std::uint32_t shared = shared_address(shared_bytes);
  if (threadIdx.x == 0) {
#pragma unroll
    for (int stage = 0; stage < T::kStages; ++stage) {
      mbarrier_init(shared + T::kKeyFull + stage * kBarrierBytes, 1);
      mbarrier_init(shared + T::kValueFull + stage * kBarrierBytes, 1);
      mbarrier_init(shared + T::kKeyEmpty + stage * kBarrierBytes, 4 * T::kConsumers);
      mbarrier_init(shared + T::kValueEmpty + stage * kBarrierBytes, 4 * T::kConsumers);
    }
    mbarrier_init(shared + T::kQueryFull, 1);
    fence_mbarrier_init();
  }
  __syncthreads();
  const QueryTile<kDim> at(
      a, Work(blockIdx.x, a.shape.micro_batch * a.shape.heads, a.query_tiles, a.section));
  if (threadIdx.x < kGroup) {
    give_registers<T::kProducerRegisters>();
    if (threadIdx.x == 0) load<kDim>(&query, &key, &value, a.shape, at, shared);
  } else {
    take_registers<T::kConsumerRegisters>();
    compute<kDim>(&output, a, at, shared, shared_bytes);
  }
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
                 dim3(T::kThreads), T::kSharedBytes, context.stream,
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

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
// Limits: those of attention_sm90.h. Compiled and inspected, never run on a GPU.
#include <algorithm>
#include <cmath>

#include "kernels/cuda/attention_sm90.h"
#include "kernels/cuda/attention_sm90_tiles.h"

namespace seq1f1b::kernels::cuda {
namespace {

using namespace sm90;

template <int kDim>
struct Tiles {
  static constexpr int kConsumers = kDim == 64 ? 3 : 2;  // warp groups
  static constexpr int kQueries = kGroupRows * kConsumers, kKeys = 128, kStages = 2;
  static constexpr int kThreads = kGroup * (kConsumers + 1);
  static constexpr int kPanels = kDim / kPanelWidth;
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

struct Arguments {
  Problem problem;
  int query_tiles;
  int rows;     // micro_batch * heads
  int section;  // how many rows run before the next ones begin: their keys and values fit the L2
  float* log_sum_exp;
};

#if SEQ1F1B_SM90

// The query tile and row of a block, and its key blocks.
template <int kDim>
struct Work {
  int first_query, batch, head, row, begin, end;

  __device__ __forceinline__ Work(const Arguments& a, int block) {
    using T = Tiles<kDim>;
    const Problem& p = a.problem;
    const int first_row = block / (a.section * a.query_tiles) * a.section;
    const int rows = min(a.section, a.rows - first_row);
    const int within = block - first_row * a.query_tiles;
    row = first_row + within % rows;
    first_query = (a.query_tiles - 1 - within / rows) * T::kQueries;
    batch = row / p.heads;
    head = row % p.heads;
    const int last_query = min(first_query + T::kQueries, p.tokens) - 1;
    begin = p.keys_begin(batch, first_query) / T::kKeys;
    end = (p.keys_end(last_query) + T::kKeys - 1) / T::kKeys;
  }
};

// One thread: keeps the rings of key and value tiles full, keys one block ahead of values.
template <int kDim>
__device__ __forceinline__ void load(const TensorMap* query, const TensorMap* key,
                                     const TensorMap* value, const Problem& p,
                                     const Work<kDim>& work, std::uint32_t shared) {
  using T = Tiles<kDim>;
  tma_prefetch_map(key);
  tma_prefetch_map(value);
  mbarrier_arrive_expect(shared + T::kQueryFull, T::kQueryBytes);
#pragma unroll
  for (int panel = 0; panel < T::kPanels; ++panel)
#pragma unroll
    for (int w = 0; w < T::kConsumers; ++w)
      tma_load_4d(shared + (panel * T::kQueries + w * kGroupRows) * kRowBytes, query,
                  panel * kPanelWidth, work.head, work.first_query + w * kGroupRows, work.batch,
                  shared + T::kQueryFull);

  const int kv_head = work.head / p.group;
  const auto load_tile = [&](const TensorMap* map, int block, RingPlace<T::kStages>& place,
                             int tiles, int full, int empty) {
    const std::uint32_t barrier = shared + full + place.stage * kBarrierBytes;
    mbarrier_wait(shared + empty + place.stage * kBarrierBytes, place.parity ^ 1);
    mbarrier_arrive_expect(barrier, T::kKeyBytes);
#pragma unroll
    for (int panel = 0; panel < T::kPanels; ++panel)
      tma_load_4d(shared + tiles + place.stage * T::kKeyBytes + panel * T::kKeys * kRowBytes, map,
                  panel * kPanelWidth, block * T::kKeys, kv_head, work.batch, barrier);
    place.advance();
  };
  RingPlace<T::kStages> key_place, value_place;
  load_tile(key, work.end - 1, key_place, T::kKey, T::kKeyFull, T::kKeyEmpty);
  for (int block = work.end - 1; block >= work.begin; --block) {
    if (block > work.begin)
      load_tile(key, block - 1, key_place, T::kKey, T::kKeyFull, T::kKeyEmpty);
    load_tile(value, block, value_place, T::kValue, T::kValueFull, T::kValueEmpty);
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
                                        const Work<kDim>& work, std::uint32_t shared,
                                        unsigned char* shared_bytes) {
  using T = Tiles<kDim>;
  const Problem& p = a.problem;
  const int thread = threadIdx.x % kGroup, warp = thread / 32, lane = thread % 32;
  const int g = lane / 4, t = lane % 4;
  const int w = __shfl_sync(~0u, static_cast<int>(threadIdx.x) / kGroup - 1, 0);
  const int first_query = work.first_query + w * kGroupRows;

  // Rows beyond the last token see what that one sees; nothing of them is written.
  const int row[2] = {first_query + warp * 16 + g, first_query + warp * 16 + g + 8};
  int keys_begin[2];
  unsigned keys[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int i = min(row[r], p.tokens - 1);
    keys_begin[r] = p.keys_begin(work.batch, i);
    keys[r] = p.keys_end(i) - keys_begin[r];
  }
  // Blocks in [full_begin, full_end) are seen whole by all rows of the warp group.
  const int last_query = min(first_query + kGroupRows, p.tokens) - 1;
  const int full_end = p.keys_end(min(first_query, p.tokens - 1)) / T::kKeys;
  const int full_begin = (p.keys_begin(work.batch, last_query) + T::kKeys - 1) / T::kKeys;
  const auto mask = [&](float(&s)[T::kKeys / 2], int block) {
#pragma unroll
    for (int i = 0; i < T::kKeys / 2; ++i) {
      const int column = block * T::kKeys + i / 4 * 8 + t * 2 + i % 2, r = i / 2 % 2;
      if (static_cast<unsigned>(column - keys_begin[r]) >= keys[r]) s[i] = -INFINITY;
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
  const float scale_log2 = p.scale * kLog2E;

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
  pass_turn(work.end - work.begin == 1);
  wgmma_wait<0>();
  wgmma_arrived(s);
  release(T::kKeyEmpty, key_place.stage);
  key_place.advance();
  mask(s, work.end - 1);
  softmax.update<true>(s, scale_log2);
  pack(exponentials, s);

  const auto step = [&]<bool kMasked>(int block) {
    take_turn();
    issue_scores();
    issue_output();
    pass_turn(block == work.begin);
    wgmma_wait<1>();
    wgmma_arrived(s);
    release(T::kKeyEmpty, key_place.stage);
    key_place.advance();
    if constexpr (kMasked) mask(s, block);
    softmax.update<kMasked>(s, scale_log2);
    wgmma_wait<0>();
    wgmma_arrived(o);
    release(T::kValueEmpty, value_place.stage);
    value_place.advance();
    softmax.correct(o);
    pack(exponentials, s);
  };
  int block = work.end - 2;
  for (; block >= work.begin && block >= full_end; --block) step.template operator()<true>(block);
  for (; block >= work.begin && block >= full_begin; --block)
    step.template operator()<false>(block);
  for (; block >= work.begin; --block) step.template operator()<true>(block);

  issue_output();
  wgmma_wait<0>();
  wgmma_arrived(o);

  // The output goes where this warp group's queries were, and from there to memory.
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
    if (t == 0 && row[r] < p.tokens)
      a.log_sum_exp[static_cast<std::int64_t>(work.row) * p.tokens + row[r]] =
          softmax.highest[r] * p.scale + logf(sum);
  }
  fence_proxy_async();
  barrier_sync(T::own_barrier(w), kGroup);
  if (thread == 0) {
#pragma unroll
    for (int panel = 0; panel < T::kPanels; ++panel)
      tma_store_4d(output, panel * kPanelWidth, work.head, first_query, work.batch,
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
  const Work<kDim> work(a, blockIdx.x);
  if (threadIdx.x < kGroup) {
    give_registers<T::kProducerRegisters>();
    if (threadIdx.x == 0) load<kDim>(&query, &key, &value, a.problem, work, shared);
  } else {
    take_registers<T::kConsumerRegisters>();
    compute<kDim>(&output, a, work, shared, shared_bytes);
  }
#endif
}

// How many rows' keys and values may be expected to stay in the L2 cache, 50 MB on Hopper, half of
// which a multiprocessor reaches directly.
int rows_per_section(const AttentionShape& s) {
  constexpr std::int64_t kBytes = 24 << 20;
  const std::int64_t kv_head = std::int64_t{4} * s.key_length * s.head_dim;
  return static_cast<int>(std::max<std::int64_t>(1, kBytes / kv_head) * (s.heads / s.kv_heads));
}

template <int kDim>
void launch(Context& context, const AttentionShape& s, const TensorMap& query, const TensorMap& key,
            const TensorMap& value, const TensorMap& output, float* log_sum_exp) {
  using T = Tiles<kDim>;
  const int rows = s.micro_batch * s.heads;
  const int query_tiles = (s.tokens + T::kQueries - 1) / T::kQueries;
  const Arguments arguments{problem_of(s), query_tiles, rows, std::min(rows, rows_per_section(s)),
                            log_sum_exp};
  allow_shared_bytes(forward<kDim>, T::kSharedBytes);
  SEQ1F1B_LAUNCH((forward<kDim>), dim3(static_cast<unsigned>(rows * query_tiles)),
                 dim3(T::kThreads), T::kSharedBytes, context.stream, query, key, value, output,
                 arguments);
}

}  // namespace

bool attention_sm90_forward(Context& context, const AttentionShape& shape, const Bf16* query,
                            const Bf16* key, const Bf16* value, Bf16* output, float* log_sum_exp) {
  using namespace sm90;
  const TensorMapShape rows = query_map_shape(shape, kGroupRows);
  const TensorMapShape keys = key_map_shape(shape, 128);
  if (!serves(context, shape) || !tensor_map_serves(query, rows) ||
      !tensor_map_serves(output, rows) || !tensor_map_serves(key, keys) ||
      !tensor_map_serves(value, keys))
    return false;
  const TensorMap maps[] = {make_tensor_map(query, rows), make_tensor_map(key, keys),
                            make_tensor_map(value, keys), make_tensor_map(output, rows)};
  const auto run = shape.head_dim <= 64 ? launch<64> : launch<128>;
  run(context, shape, maps[0], maps[1], maps[2], maps[3], log_sum_exp);
  return true;
}

}  // namespace seq1f1b::kernels::cuda

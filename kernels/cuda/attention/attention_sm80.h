#pragma once
// What the forward and the backward on mma.sync share: which problems they take, how a head's rows
// are addressed, and in which order blocks work.
#include <algorithm>
#include <cstdint>
#include <numbers>
#include <type_traits>

#include "kernels/common/bf16.h"
#include "kernels/cuda/attention/attention.h"
#include "kernels/cuda/attention/attention_tuning.h"
#include "kernels/cuda/attention/scratch_attention.h"

namespace seq1f1b::kernels::cuda {

// cp.async and the stores move 16 bytes: rows must be whole multiples of that, and begin at one.
template <class... Pointers>
bool sm80_serves(const AttentionShape& shape, Pointers... operands) {
  return shape.head_dim % 8 == 0 && shape.head_dim <= kAttentionDims[4] && shape.scale > 0 &&
         ((reinterpret_cast<std::uintptr_t>(operands) % 16 == 0) && ...);
}

// Whether a block gets that much dynamic shared memory beside what the kernels keep in static,
// which is less than the alignment of the former.
inline bool sm80_fits(const Context& context, int bytes) {
  return bytes + 1024 <= context.shared_bytes;
}

// Up to this head dimension the backward has a one-pass variant, where sums may run in any order.
inline constexpr int kOnePassHeadDim = 128;

// Scores are exponentiated to the base of two: 2^(score log2(e)).
inline constexpr float kLog2E = std::numbers::log2e_v<float>;
inline constexpr float kLn2 = std::numbers::ln2_v<float>;

// Calls run(std::integral_constant<int, instance>) for the smallest instance that holds head_dim.
template <class Run>
auto for_instance(int head_dim, Run&& run) {
  if (head_dim <= 64) return run(std::integral_constant<int, 64>{});
  if (head_dim <= 80) return run(std::integral_constant<int, 80>{});
  if (head_dim <= 96) return run(std::integral_constant<int, 96>{});
  if (head_dim <= 128) return run(std::integral_constant<int, 128>{});
  return run(std::integral_constant<int, 256>{});
}

// How many blocks share the keys of one query tile of the forward.
inline int sm80_forward_splits(const AttentionShape& shape, int multiprocessors) {
  const AttentionTuning& tuning = tuning_of(kForwardTuning, shape.head_dim);
  const std::int64_t tiles = (shape.tokens + tuning.rows() - 1) / tuning.rows();
  const std::int64_t key_tiles = (shape.key_length + tuning.step - 1) / tuning.step;
  return attention_splits(std::int64_t{shape.micro_batch} * shape.heads * tiles, key_tiles,
                          multiprocessors);
}

// One block's work among heads (of all sequences) and units (tiles, parts of tiles) of each. Heads
// whose keys and values fit the second-level cache together form a group; groups follow each other,
// and within a group every head's longest unit comes first: blocks start in the order of their
// number, and the short ones at the end fill the gaps.
struct BlockOrder {
  int heads, units, group;

  static BlockOrder of(std::int64_t heads, std::int64_t units, std::int64_t bytes_per_head) {
    constexpr std::int64_t kCacheBytes = 24 << 20;  // of 40 MiB (A100) or 50 MiB (H100)
    const std::int64_t group =
        std::clamp<std::int64_t>(kCacheBytes / std::max<std::int64_t>(bytes_per_head, 1), 1, heads);
    return {static_cast<int>(heads), static_cast<int>(units), static_cast<int>(group)};
  }
  unsigned blocks() const { return static_cast<unsigned>(heads) * static_cast<unsigned>(units); }

  struct Place {
    int head, unit;
  };
  SEQ1F1B_HOST_DEVICE Place place(unsigned block) const {
    const unsigned per_group = static_cast<unsigned>(units) * static_cast<unsigned>(group);
    const int first = static_cast<int>(block / per_group) * group;
    const int rest = static_cast<int>(block % per_group);
    const int here = heads - first < group ? heads - first : group;
    return {first + rest % here, rest / here};
  }
};

// Where the rows of one head of one sequence lie. heads, kv_heads: of the problem.
SEQ1F1B_HOST_DEVICE inline std::int64_t query_offset(const AttentionShape& shape, int sequence,
                                                     int head, int row) {
  return ((static_cast<std::int64_t>(sequence) * shape.tokens + row) * shape.heads + head) *
         shape.head_dim;
}
SEQ1F1B_HOST_DEVICE inline std::int64_t key_offset(const AttentionShape& shape, int sequence,
                                                   int kv_head, int row) {
  return ((static_cast<std::int64_t>(sequence) * shape.kv_heads + kv_head) * shape.capacity + row) *
         shape.head_dim;
}
SEQ1F1B_HOST_DEVICE inline std::int64_t statistic_offset(const AttentionShape& shape, int sequence,
                                                         int head, int row) {
  return (static_cast<std::int64_t>(sequence) * shape.heads + head) * shape.tokens + row;
}

}  // namespace seq1f1b::kernels::cuda

#include "kernels/cpu/attention.h"

#include <omp.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "kernels/cpu/attention_tiles.h"

namespace seq1f1b::kernels::cpu {
namespace {

constexpr std::size_t kCacheLine = 64;

// Where a head of a sequence lies in the tensors of a call.
struct Shape {
  std::int64_t micro_batch, tokens, heads, head_dim, kv_heads, capacity;

  Shape(const Tensor& query, const Tensor& key)
      : micro_batch(query.dim(0)), tokens(query.dim(1)), heads(query.dim(2)),
        head_dim(query.dim(3)), kv_heads(key.dim(1)), capacity(key.dim(2)) {}

  std::int64_t group() const { return heads / kv_heads; }
  std::int64_t query_offset(std::int64_t b, std::int64_t head) const {
    return (b * tokens * heads + head) * head_dim;
  }
  std::int64_t key_offset(std::int64_t b, std::int64_t kv_head) const {
    return (b * kv_heads + kv_head) * capacity * head_dim;
  }
  std::int64_t statistics_offset(std::int64_t b, std::int64_t head) const {
    return (b * heads + head) * tokens;
  }
  HeadView view(std::int64_t b, std::int64_t kv_head, const Tensor& key, const Tensor& value,
                const AttentionRange& range, double scale) const {
    HeadView head;
    head.head_dim = head_dim;
    head.query_stride = heads * head_dim;
    head.key = key.as<float>() + key_offset(b, kv_head);
    head.value = value.as<float>() + key_offset(b, kv_head);
    head.key_length = range.key_length;
    head.key_start = range.key_start;
    head.query_start = range.query_start;
    head.document_start = range.document_start ? range.document_start + b * tokens : nullptr;
    head.scale = static_cast<float>(scale);
    return head;
  }
};

}  // namespace

Attention::Attention(int threads, Isa isa) : threads_(threads), isa_(isa) {}

void Attention::Free::operator()(void* memory) const {
  ::operator delete(memory, std::align_val_t{kCacheLine});
}

void Attention::grow(std::int64_t head_dim) {
  const auto floats = static_cast<std::size_t>(attention_tiles(isa_).scratch_floats(head_dim));
  const std::size_t bytes = (floats * sizeof(float) + kCacheLine - 1) / kCacheLine * kCacheLine;
  if (bytes <= scratch_bytes_) return;
  scratch_bytes_ = bytes;
  scratch_.reset(new (std::align_val_t{kCacheLine})
                     std::byte[scratch_bytes_ * static_cast<std::size_t>(threads_)]);
}

float* Attention::scratch(int thread) const {
  return reinterpret_cast<float*>(scratch_.get() +
                                  scratch_bytes_ * static_cast<std::size_t>(thread));
}

void Attention::forward(const Tensor& query, const Tensor& key, const Tensor& value,
                        const AttentionRange& range, double scale, const Tensor& output,
                        const Tensor& log_sum_exp) {
  const Shape shape(query, key);
  const AttentionTiles& tiles = attention_tiles(isa_);
  grow(shape.head_dim);
  const std::int64_t tiles_per_head = (shape.tokens + tiles.queries - 1) / tiles.queries;
  const std::int64_t tasks = shape.micro_batch * shape.heads * tiles_per_head;
  const auto task = [&](std::int64_t index) {
    // The last tiles of a head see the most keys: they start first.
    const std::int64_t tile = tiles_per_head - 1 - index / (shape.micro_batch * shape.heads);
    const std::int64_t b = index / shape.heads % shape.micro_batch, head = index % shape.heads;
    const ForwardTile pointers{query.as<float>() + shape.query_offset(b, head),
                               output.as<float>() + shape.query_offset(b, head),
                               log_sum_exp.as<float>() + shape.statistics_offset(b, head)};
    const std::int64_t first = tile * tiles.queries;
    tiles.forward(shape.view(b, head / shape.group(), key, value, range, scale), pointers, first,
                  std::min(tiles.queries, shape.tokens - first), scratch(omp_get_thread_num()));
  };
  if (threads_ == 1 || tasks == 1) {
    for (std::int64_t index = 0; index < tasks; ++index) task(index);
    return;
  }
#pragma omp parallel for num_threads(threads_) schedule(dynamic, 1)
  for (std::int64_t index = 0; index < tasks; ++index) task(index);
}

void Attention::backward(const Tensor& grad_output, const Tensor& query, const Tensor& key,
                         const Tensor& value, const Tensor& output, const Tensor& log_sum_exp,
                         const AttentionRange& range, double scale, const Tensor& grad_query,
                         const Tensor& grad_key, const Tensor& grad_value, Accumulate mode) {
  const Shape shape(query, key);
  const AttentionTiles& tiles = attention_tiles(isa_);
  grow(shape.head_dim);
  const std::int64_t tasks = shape.micro_batch * shape.kv_heads;
  const auto task = [&](std::int64_t index) {
    const std::int64_t b = index / shape.kv_heads, kv_head = index % shape.kv_heads;
    const HeadView view = shape.view(b, kv_head, key, value, range, scale);
    float* dk = grad_key.as<float>() + shape.key_offset(b, kv_head);
    float* dv = grad_value.as<float>() + shape.key_offset(b, kv_head);
    if (mode == Accumulate::kOverwrite) {
      const auto bytes =
          static_cast<std::size_t>(range.key_length * shape.head_dim) * sizeof(float);
      std::memset(dk, 0, bytes);
      std::memset(dv, 0, bytes);
    }
    for (std::int64_t in_group = 0; in_group < shape.group(); ++in_group) {
      const std::int64_t head = kv_head * shape.group() + in_group;
      const std::int64_t offset = shape.query_offset(b, head);
      const BackwardTile pointers{query.as<float>() + offset,
                                  output.as<float>() + offset,
                                  grad_output.as<float>() + offset,
                                  log_sum_exp.as<float>() + shape.statistics_offset(b, head),
                                  grad_query.as<float>() + offset,
                                  dk,
                                  dv};
      for (std::int64_t first = 0; first < shape.tokens; first += tiles.queries)
        tiles.backward(view, pointers, first, std::min(tiles.queries, shape.tokens - first),
                       scratch(omp_get_thread_num()));
    }
  };
  if (threads_ == 1 || tasks == 1) {
    for (std::int64_t index = 0; index < tasks; ++index) task(index);
    return;
  }
#pragma omp parallel for num_threads(threads_) schedule(dynamic, 1)
  for (std::int64_t index = 0; index < tasks; ++index) task(index);
}

}  // namespace seq1f1b::kernels::cpu

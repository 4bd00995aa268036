#include <cmath>

#include "core/model/mixer.h"

namespace seq1f1b::model {
namespace {

using kernels::Tensor;

class Attention final : public Mixer {
 public:
  Attention(const ModelSpec& spec, Precision precision)
      : spec_(spec),
        precision_(precision),
        scale_(1.0 / std::sqrt(static_cast<double>(spec.head_dim))) {}

  std::size_t saved_bytes(const SegmentShape& shape) const override {
    ArenaLayout arena;
    lay_out_saved(arena, shape);
    return arena.used();
  }
  std::size_t carry_bytes(const SegmentShape& shape) const override {
    ArenaLayout arena;
    lay_out_pair(arena, shape, precision_.compute);
    return arena.used();
  }
  std::size_t carry_gradient_bytes(const SegmentShape& shape) const override {
    ArenaLayout arena;
    lay_out_pair(arena, shape, precision_.accumulate);
    return arena.used();
  }
  std::size_t workspace_bytes(const SegmentShape& shape) const override {
    ArenaLayout arena;
    take_query(arena, shape);
    return arena.used();
  }

  void prepare(kernels::Ops& ops, const SegmentShape& shape) const override {
    ArenaLayout nowhere;
    ops.prepare_attention(take_query(nowhere, shape),
                          lay_out_pair(nowhere, shape, precision_.compute).key, range(shape));
  }

  void forward(kernels::Ops& ops, const SegmentShape& shape, const Tensor& projected,
               const Tensor& output, const MixerStorage& storage) const override {
    ArenaLayout saved_arena(storage.saved), carry_arena(storage.carry);
    const Saved saved = lay_out_saved(saved_arena, shape);
    const Pair carry = lay_out_pair(carry_arena, shape, precision_.compute);
    ops.split_qkv_rope(
        projected.reshaped({shape.batch_size, shape.tokens, spec_.projected_width()}), shape.start,
        spec_.rotary, saved.query, carry.key, carry.value);
    ops.attention_forward(saved.query, carry.key, carry.value, range(shape), scale_,
                          by_heads(output, shape), saved.log_sum_exp);
  }

  void backward(kernels::Ops& ops, const SegmentShape& shape, bool first, const Tensor& grad_output,
                const Tensor& output, const Tensor& grad_projected,
                const MixerStorage& storage) const override {
    ArenaLayout saved_arena(storage.saved), carry_arena(storage.carry);
    ArenaLayout gradient_arena(storage.carry_gradient), workspace(storage.workspace);
    const Saved saved = lay_out_saved(saved_arena, shape);
    const Pair carry = lay_out_pair(carry_arena, shape, precision_.compute);
    const Pair gradient = lay_out_pair(gradient_arena, shape, precision_.accumulate);
    const Tensor grad_query = take_query(workspace, shape);
    ops.attention_backward(by_heads(grad_output, shape), saved.query, carry.key, carry.value,
                           by_heads(output, shape), saved.log_sum_exp, range(shape), scale_,
                           grad_query, gradient.key, gradient.value,
                           first ? kernels::Accumulate::kOverwrite : kernels::Accumulate::kAdd);
    // Every later segment has added its share, so this segment's rows of dK and dV are complete.
    ops.split_qkv_rope_backward(
        grad_query, gradient.key, gradient.value, shape.start, spec_.rotary,
        grad_projected.reshaped({shape.batch_size, shape.tokens, spec_.projected_width()}));
  }

 private:
  struct Saved {
    Tensor query, log_sum_exp;
  };
  struct Pair {
    Tensor key, value;
  };

  Tensor by_heads(const Tensor& rows, const SegmentShape& shape) const {
    return rows.reshaped({shape.batch_size, shape.tokens, spec_.heads, spec_.head_dim});
  }
  Tensor take_query(ArenaLayout& arena, const SegmentShape& shape) const {
    return arena.take(precision_.compute,
                      {shape.batch_size, shape.tokens, spec_.heads, spec_.head_dim});
  }
  Saved lay_out_saved(ArenaLayout& arena, const SegmentShape& shape) const {
    const Tensor query = take_query(arena, shape);
    return {query,
            arena.take(precision_.accumulate, {shape.batch_size, spec_.heads, shape.tokens})};
  }
  Pair lay_out_pair(ArenaLayout& arena, const SegmentShape& shape, kernels::Dtype dtype) const {
    const auto take = [&] {
      return arena.take(dtype, {shape.batch_size, spec_.kv_heads, shape.capacity, spec_.head_dim});
    };
    const Tensor key = take();
    return {key, take()};
  }
  static kernels::AttentionRange range(const SegmentShape& shape) {
    return {.query_start = shape.start, .key_start = 0, .key_length = shape.start + shape.tokens};
  }

  ModelSpec spec_;
  Precision precision_;
  double scale_;
};

}  // namespace

std::unique_ptr<Mixer> make_attention(const ModelSpec& spec, Precision precision) {
  return std::make_unique<Attention>(spec, precision);
}

}  // namespace seq1f1b::model

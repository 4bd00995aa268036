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

  std::size_t saved_bytes(const Extent& extent) const override {
    Carver carver;
    carve_saved(carver, extent);
    return carver.used();
  }
  std::size_t carry_bytes(const Extent& extent) const override {
    Carver carver;
    carve_pair(carver, extent, precision_.compute);
    return carver.used();
  }
  std::size_t carry_gradient_bytes(const Extent& extent) const override {
    Carver carver;
    carve_pair(carver, extent, precision_.accumulate);
    return carver.used();
  }
  std::size_t workspace_bytes(const Extent& extent) const override {
    Carver carver;
    take_query(carver, extent);
    return carver.used();
  }

  void prepare(kernels::Ops& ops, const Extent& extent) const override {
    Carver nowhere;
    ops.prepare_attention(take_query(nowhere, extent),
                          carve_pair(nowhere, extent, precision_.compute).key, range(extent));
  }

  void forward(kernels::Ops& ops, const Extent& extent, const Tensor& projected,
               const Tensor& output, const MixerStorage& storage) const override {
    Carver saved_carver(storage.saved), carry_carver(storage.carry);
    const Saved saved = carve_saved(saved_carver, extent);
    const Pair carry = carve_pair(carry_carver, extent, precision_.compute);
    ops.project_to_carry(
        projected.reshaped({extent.micro_batch, extent.tokens, spec_.projected_width()}),
        extent.start, spec_.rotary, saved.query, carry.key, carry.value);
    ops.attention_forward(saved.query, carry.key, carry.value, range(extent), scale_,
                          by_heads(output, extent), saved.log_sum_exp);
  }

  void backward(kernels::Ops& ops, const Extent& extent, bool first, const Tensor& grad_output,
                const Tensor& output, const Tensor& grad_projected,
                const MixerStorage& storage) const override {
    Carver saved_carver(storage.saved), carry_carver(storage.carry);
    Carver gradient_carver(storage.carry_gradient), workspace(storage.workspace);
    const Saved saved = carve_saved(saved_carver, extent);
    const Pair carry = carve_pair(carry_carver, extent, precision_.compute);
    const Pair gradient = carve_pair(gradient_carver, extent, precision_.accumulate);
    const Tensor grad_query = take_query(workspace, extent);
    ops.attention_backward(by_heads(grad_output, extent), saved.query, carry.key, carry.value,
                           by_heads(output, extent), saved.log_sum_exp, range(extent), scale_,
                           grad_query, gradient.key, gradient.value,
                           first ? kernels::Accumulate::kOverwrite : kernels::Accumulate::kAdd);
    // Every later segment has added its share, so this segment's rows of dK and dV are complete.
    ops.project_from_carry(
        grad_query, gradient.key, gradient.value, extent.start, spec_.rotary,
        grad_projected.reshaped({extent.micro_batch, extent.tokens, spec_.projected_width()}));
  }

 private:
  struct Saved {
    Tensor query, log_sum_exp;
  };
  struct Pair {
    Tensor key, value;
  };

  Tensor by_heads(const Tensor& rows, const Extent& extent) const {
    return rows.reshaped({extent.micro_batch, extent.tokens, spec_.heads, spec_.head_dim});
  }
  Tensor take_query(Carver& carver, const Extent& extent) const {
    return carver.take(precision_.compute,
                       {extent.micro_batch, extent.tokens, spec_.heads, spec_.head_dim});
  }
  Saved carve_saved(Carver& carver, const Extent& extent) const {
    const Tensor query = take_query(carver, extent);
    return {query,
            carver.take(precision_.accumulate, {extent.micro_batch, spec_.heads, extent.tokens})};
  }
  Pair carve_pair(Carver& carver, const Extent& extent, kernels::Dtype dtype) const {
    const auto take = [&] {
      return carver.take(dtype,
                         {extent.micro_batch, spec_.kv_heads, extent.capacity, spec_.head_dim});
    };
    const Tensor key = take();
    return {key, take()};
  }
  static kernels::AttentionRange range(const Extent& extent) {
    return {
        .query_start = extent.start, .key_start = 0, .key_length = extent.start + extent.tokens};
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

#pragma once
// One transformer block with hand-written passes:
//   mid    = input + output_projection(mixer(qkv(norm1(input))))
//   output = mid + down(activation(up(norm2(mid))))
// Backward is two functions, input_grad and weight_grad, with a stash of output gradients between
// them; a schedule that does not split simply calls one after the other. Norm outputs and the
// activation are recomputed from what is saved: one pass each instead of bytes kept per token.
#include <memory>

#include "core/model/arena_layout.h"
#include "core/model/mixer.h"
#include "core/model/spec.h"
#include "core/parameters/store.h"
#include "kernels/ops.h"

namespace seq1f1b::model {

// Views of one block's parameters, or of their gradients. Absent biases are empty tensors.
struct BlockParameters {
  kernels::Tensor norm1_weight, norm1_bias;
  kernels::Tensor qkv_weight, qkv_bias;  // [(heads + 2 kv_heads) head_dim, hidden]
  kernels::Tensor output_weight, output_bias;
  kernels::Tensor norm2_weight, norm2_bias;
  kernels::Tensor up_weight, up_bias;  // [ffn or 2 ffn (gate, up), hidden]
  kernels::Tensor down_weight, down_bias;
};

// From forward to the last use of a unit. T = shape.rows().
struct BlockSaved {
  kernels::Tensor input;        // [T, hidden]; written by whoever produces it
  kernels::Tensor statistics1;  // [T, 2]
  kernels::Tensor mixed;        // [T, heads head_dim], the mixer's output
  kernels::Tensor mid;          // [T, hidden]
  kernels::Tensor statistics2;  // [T, 2]
  kernels::Tensor ffn_in;       // [T, ffn or 2 ffn], before the activation
  std::byte* mixer = nullptr;
};

// Output gradients that weight_grad needs. grad_output is the block's own: written by whoever
// produces it.
struct BlockStash {
  kernels::Tensor grad_output;     // [T, hidden]
  kernels::Tensor grad_ffn_in;     // [T, ffn or 2 ffn]
  kernels::Tensor grad_mid;        // [T, hidden]
  kernels::Tensor grad_projected;  // [T, (heads + 2 kv_heads) head_dim]
};

class Block {
 public:
  // Without a store the block can only say what it needs.
  Block(const ModelSpec& spec, Precision precision, int index, const parameters::Store* store);

  // `kept`: what weight_grad reads; `backward_only`: what it does not. They may be one arena.
  BlockSaved lay_out_saved(ArenaLayout& kept, ArenaLayout& backward_only,
                           const SegmentShape& shape) const;
  BlockStash lay_out_stash(ArenaLayout& arena, const SegmentShape& shape) const;
  std::size_t carry_bytes(const SegmentShape& shape) const { return mixer_->carry_bytes(shape); }
  std::size_t carry_gradient_bytes(const SegmentShape& shape) const {
    return mixer_->carry_gradient_bytes(shape);
  }
  std::size_t forward_workspace_bytes(const SegmentShape& shape) const;
  std::size_t input_grad_workspace_bytes(const SegmentShape& shape) const;
  std::size_t weight_grad_workspace_bytes(const SegmentShape& shape) const;

  // Mixer::prepare.
  void prepare(kernels::Ops& ops, const SegmentShape& shape) const { mixer_->prepare(ops, shape); }

  // Reads saved.input, writes the rest of `saved`, the carry's rows and `output` [T, hidden].
  void forward(kernels::Ops& ops, const SegmentShape& shape, const BlockSaved& saved,
               std::byte* carry, const kernels::Tensor& output, std::byte* workspace) const;
  // Reads stash.grad_output, writes the rest of the stash and `grad_input` [T, hidden]; adds to the
  // gradients of the norms. `first`: the last segment of its micro-batch.
  void input_grad(kernels::Ops& ops, const SegmentShape& shape, bool first, const BlockSaved& saved,
                  std::byte* carry, std::byte* carry_gradient, const BlockStash& stash,
                  const kernels::Tensor& grad_input, std::byte* workspace) const;
  // Adds to the gradients of the linear layers.
  void weight_grad(kernels::Ops& ops, const SegmentShape& shape, const BlockSaved& saved,
                   const BlockStash& stash, std::byte* workspace) const;

 private:
  struct ForwardScratch {
    kernels::Tensor normed, projected, activated;
  };
  struct InputGradScratch {
    kernels::Tensor grad_activated, grad_normed, grad_mixed;
    std::byte* mixer;
  };
  struct WeightGradScratch {
    kernels::Tensor activated, normed;
  };
  ForwardScratch lay_out_forward(ArenaLayout& arena, const SegmentShape& shape) const;
  InputGradScratch lay_out_input_grad(ArenaLayout& arena, const SegmentShape& shape) const;
  WeightGradScratch lay_out_weight_grad(ArenaLayout& arena, const SegmentShape& shape) const;
  void activate(kernels::Ops& ops, const kernels::Tensor& ffn_in,
                const kernels::Tensor& activated) const;

  ModelSpec spec_;
  Precision precision_;
  std::unique_ptr<Mixer> mixer_;
  BlockParameters weights_, gradients_;
};

}  // namespace seq1f1b::model

#pragma once
// Token mixers: the only part of a block that looks outside its segment. Whatever it needs of
// earlier segments arrives in the carry, whatever later segments owe it in the carry gradient, so
// any causal mixer with a carry can be pipelined by segments. It starts behind the fused projection
// and ends before the output projection.
#include <memory>

#include "core/model/arena_layout.h"
#include "core/model/spec.h"
#include "kernels/ops.h"

namespace seq1f1b::model {

// Storage that the stage hands to a mixer for one call.
struct MixerStorage {
  std::byte* saved = nullptr;           // of the unit, from forward to backward
  std::byte* carry = nullptr;           // of the micro-batch
  std::byte* carry_gradient = nullptr;  // of the micro-batch's backward
  std::byte* workspace = nullptr;       // of the action
};

class Mixer {
 public:
  virtual ~Mixer() = default;
  // Bytes by lifetime.
  virtual std::size_t saved_bytes(const SegmentShape& shape) const = 0;
  virtual std::size_t carry_bytes(const SegmentShape& shape) const = 0;
  virtual std::size_t carry_gradient_bytes(const SegmentShape& shape) const = 0;
  virtual std::size_t workspace_bytes(const SegmentShape& shape) const = 0;  // of backward

  // Before the first unit of these shapes: lets the device build what it needs for them.
  virtual void prepare(kernels::Ops& ops, const SegmentShape& shape) const = 0;

  // projected [T, (heads + 2 kv_heads) head_dim]; output [T, heads head_dim]. Segments of a
  // micro-batch come in ascending order.
  virtual void forward(kernels::Ops& ops, const SegmentShape& shape,
                       const kernels::Tensor& projected, const kernels::Tensor& output,
                       const MixerStorage& storage) const = 0;
  // Segments in descending order; `first` with the last segment: its contribution to the carry
  // gradient overwrites, later ones add. output is forward's.
  virtual void backward(kernels::Ops& ops, const SegmentShape& shape, bool first,
                        const kernels::Tensor& grad_output, const kernels::Tensor& output,
                        const kernels::Tensor& grad_projected,
                        const MixerStorage& storage) const = 0;
};

// Softmax attention: carries K and V forward, dK and dV back.
std::unique_ptr<Mixer> make_attention(const ModelSpec& spec, Precision precision);

}  // namespace seq1f1b::model

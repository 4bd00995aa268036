#pragma once
// The layers of one pipeline stage (one chunk of a rank), as three functions over a unit, and the
// storage they need by lifetime. Knows nothing of schedules in time, ranks or channels.
#include <vector>

#include "core/model/arena_layout.h"
#include "core/model/block.h"
#include "core/model/head.h"
#include "core/model/spec.h"
#include "core/parameters/store.h"
#include "core/schedule/memory_plan.h"

namespace seq1f1b::model {

// Storage of one action, by lifetime, as the memory plan placed it. Null where nothing is needed.
struct StageStorage {
  std::byte* activations = nullptr;
  std::byte* stash = nullptr;
  std::byte* carry = nullptr;
  std::byte* carry_gradient = nullptr;
  std::byte* workspace = nullptr;
};

// What enters a stage beside activations.
struct StageInput {
  kernels::Tensor tokens;  // int32 [micro_batch, tokens]; where the embedding is
  LossInput loss;          // where the head is
};

enum class Mode : std::uint8_t { kTraining, kEvaluation };

class Stage {
 public:
  // Without a store the stage can only say what it needs.
  Stage(const ModelSpec& spec, const StageLayers& layers, Precision precision, bool split_backward,
        const parameters::Store* store = nullptr);

  // Bytes by lifetime for every segment of a micro-batch.
  schedule::ChunkDemand demand(Mode mode, std::span<const SegmentShape> segments) const;
  // Of an activation or a gradient sent between stages.
  std::size_t message_bytes(const SegmentShape& shape) const;

  // Before the first unit of these shapes: lets the device build what it needs for them. All
  // blocks have the same shapes.
  void prepare(kernels::Ops& ops, const SegmentShape& shape) const {
    blocks_.front().prepare(ops, shape);
  }
  // Copies a message, [T, hidden], to where forward or backward of the unit will look for it. Apart
  // from these, so that what they issue is the same for every micro-batch in the same storage.
  void take_activation(kernels::Ops& ops, const SegmentShape& shape, const StageStorage& storage,
                       const std::byte* received) const;
  void take_gradient(kernels::Ops& ops, const SegmentShape& shape, const StageStorage& storage,
                     const std::byte* received) const;
  // output [T, hidden] is absent on the last stage. In evaluation the last stage adds the loss.
  void forward(kernels::Ops& ops, const SegmentShape& shape, Mode mode, const StageStorage& storage,
               const StageInput& input, std::byte* output) const;
  // Input gradients; weight gradients too unless the backward is split. `last_segment`: the first
  // to come back. grad_input: to be sent (absent on the first).
  void backward(kernels::Ops& ops, const SegmentShape& shape, bool last_segment,
                const StageStorage& storage, const StageInput& input, std::byte* grad_input) const;
  // Only with a split backward.
  void weight_grad(kernels::Ops& ops, const SegmentShape& shape, const StageStorage& storage) const;

  // Runs a segment as evaluation does and writes the logits of the last token of every sequence,
  // [micro_batch, vocab] compute type: for sampling, on a stage that has all layers.
  void next_token_logits(kernels::Ops& ops, const SegmentShape& shape, const StageStorage& storage,
                         const StageInput& input, const kernels::Tensor& logits) const;
  std::size_t next_token_workspace_bytes(const SegmentShape& shape) const;
  std::size_t unit_bytes(const SegmentShape& shape) const;
  std::size_t carry_bytes(const SegmentShape& shape) const;

 private:
  struct Saved {
    std::vector<BlockSaved> blocks;
    kernels::Tensor hidden;  // of the last block, where the head is
  };
  struct Backward {
    std::vector<BlockStash>
        stashes;                     // per block; without a split all share one but for grad_output
    kernels::Tensor embedding_grad;  // where the embedding is
    std::byte* scratch = nullptr;    // of one block or of the head
  };
  Saved lay_out_saved(ArenaLayout& arena, const SegmentShape& shape) const;
  Backward lay_out_backward(ArenaLayout& stash, ArenaLayout& workspace,
                            const SegmentShape& shape) const;
  std::size_t forward_workspace_bytes(const SegmentShape& shape, Mode mode) const;

  kernels::Tensor message(const std::byte* data, const SegmentShape& shape) const;
  kernels::Tensor unit_input(const SegmentShape& shape, const StageStorage& storage) const;
  kernels::Tensor unit_grad_output(const SegmentShape& shape, const StageStorage& storage) const;
  void run_blocks(kernels::Ops& ops, const SegmentShape& shape, const StageStorage& storage,
                  const StageInput& input, const Saved& saved, const kernels::Tensor& output) const;

  ModelSpec spec_;
  StageLayers layers_;
  Precision precision_;
  bool split_backward_;
  std::vector<Block> blocks_;
  std::vector<Head> head_;  // one or none
  kernels::Tensor token_weight_, position_weight_, grad_token_weight_, grad_position_weight_;
};

}  // namespace seq1f1b::model

#pragma once
// The layers of one pipeline stage (one chunk of a rank): what an action of each kind does to a
// unit, and the storage it needs by lifetime. Knows nothing of schedules in time, ranks or
// channels.
#include <array>
#include <optional>
#include <span>
#include <vector>

#include "core/model/arena_layout.h"
#include "core/model/block.h"
#include "core/model/embedding.h"
#include "core/model/head.h"
#include "core/model/spec.h"
#include "core/parameters/store.h"
#include "core/schedule/memory_plan.h"

namespace seq1f1b::model {

// Storage of one action, by lifetime, as the memory plan placed it. Null where nothing is needed.
class StageStorage {
 public:
  std::byte*& operator[](schedule::Lifetime lifetime) {
    return pieces_[static_cast<std::size_t>(lifetime)];
  }
  std::byte* operator[](schedule::Lifetime lifetime) const {
    return pieces_[static_cast<std::size_t>(lifetime)];
  }

 private:
  std::array<std::byte*, schedule::kLifetimes> pieces_{};
};

// What enters a stage beside messages.
struct StageInput {
  kernels::Tensor tokens;  // int32 [batch, tokens]; where the embedding is
  LossInput loss;          // where the head is
};

// One action on one unit.
struct StageCall {
  SegmentShape shape;
  bool last_segment = false;  // of its micro-batch: the first to come back
  StageStorage storage;
  StageInput input;
  std::byte* output =
      nullptr;  // the message to send, [T, hidden]; null at the ends of the pipeline
};

class Stage {
 public:
  // For schedules with the features: without a backward, forwards evaluate and add the loss.
  // Without a store the stage can only say what it needs.
  Stage(const ModelSpec& spec, const StageLayers& layers, Precision precision,
        schedule::FeatureSet features, const parameters::Store* store = nullptr);

  // Bytes of a piece of storage for a unit of this shape. Not of kWorkspace.
  std::size_t bytes(schedule::Lifetime lifetime, const SegmentShape& shape) const;
  std::size_t workspace_bytes(schedule::Kind kind, const SegmentShape& shape) const;
  // All of it for the segments of a micro-batch.
  schedule::ChunkDemand demand(std::span<const SegmentShape> segments) const;

  // Before the first unit of these shapes: lets the device build what it needs for them. All blocks
  // have the same shapes.
  void prepare(kernels::Ops& ops, const SegmentShape& shape) const {
    blocks_.front().prepare(ops, shape);
  }
  // Copies a message, [T, hidden], to where the action that receives the flow will look for it.
  // Apart from run(), so that what that issues is the same for every micro-batch in the same
  // storage.
  void take(schedule::Flow flow, kernels::Ops& ops, const SegmentShape& shape,
            const StageStorage& storage, const std::byte* received) const;
  // The work of an action of the kind.
  void run(schedule::Kind kind, kernels::Ops& ops, const StageCall& call) const;

  // Runs a segment as evaluation does and writes the logits of the last token of every sequence,
  // [batch, vocab] compute type: for sampling, on a stage that has all layers.
  void next_token_logits(kernels::Ops& ops, const StageCall& call,
                         const kernels::Tensor& logits) const;
  std::size_t next_token_workspace_bytes(const SegmentShape& shape) const;

 private:
  struct Saved {
    std::vector<BlockSaved> blocks;
    kernels::Tensor hidden;  // of the last block, where the head is
  };
  struct Gradients {
    std::vector<BlockStash> blocks;  // without a split all share one but for grad_output
    kernels::Tensor embedding;       // [T, hidden], where the embedding is
    std::byte* scratch = nullptr;    // of one block or of the head
  };
  bool splits() const { return features_.has(schedule::Feature::kSplitBackward); }
  Saved lay_out_saved(ArenaLayout& kept, ArenaLayout& backward_only,
                      const SegmentShape& shape) const;
  Saved saved_in(const StageStorage& storage, const SegmentShape& shape) const;
  Gradients lay_out_gradients(ArenaLayout& stash, ArenaLayout& workspace,
                              const SegmentShape& shape) const;
  Gradients gradients_in(const StageStorage& storage, const SegmentShape& shape) const;
  template <class Size>
  std::size_t most_of_blocks(const Size& size) const;
  std::size_t forward_workspace_bytes(const SegmentShape& shape) const;

  kernels::Tensor message(const std::byte* data, const SegmentShape& shape) const;
  void forward(kernels::Ops& ops, const StageCall& call) const;
  void backward(kernels::Ops& ops, const StageCall& call) const;
  void weight_grad(kernels::Ops& ops, const StageCall& call) const;
  void run_blocks(kernels::Ops& ops, const StageCall& call, const Saved& saved,
                  const kernels::Tensor& output) const;

  ModelSpec spec_;
  StageLayers layers_;
  Precision precision_;
  schedule::FeatureSet features_;
  std::optional<Embedding> embedding_;
  std::vector<Block> blocks_;
  std::optional<Head> head_;
};

}  // namespace seq1f1b::model

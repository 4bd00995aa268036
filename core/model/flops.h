#pragma once
// The one cost model: FLOPs of the layers as they are, 2 for a multiply-add. Products of linear
// layers and of attention count, norms and activations do not. Attention does 4 d forward and 10 d
// backward per head and visible (query, key) pair: forward 2 products, backward 5, of d
// multiply-adds each.
#include "core/model/arena_layout.h"
#include "core/model/spec.h"
#include "core/schedule/action_table.h"
#include "core/schedule/partition.h"

namespace seq1f1b::model {

// Visible pairs of the segment's queries under a causal mask, with the keys before it; per
// sequence.
double visible_pairs(const SegmentShape& shape);

// Of one action of a stage, all sequences of its micro-batch, in a schedule with the features. The
// head works in the backward, with its forward, where there is one.
double stage_flops(const ModelSpec& spec, const StageLayers& layers, schedule::FeatureSet features,
                   schedule::Kind kind, const SegmentShape& shape);

// Of one sequence, forward and backward, of the whole model: what TFLOP/s count.
double model_flops(const ModelSpec& spec, std::int64_t seq_length);

// What `schedule.partition: flops` equalises: forward and backward of the blocks, embedding and
// head left out, since no cut of the sequence evens out what one stage alone has.
schedule::SegmentCost block_cost(const ModelSpec& spec);

}  // namespace seq1f1b::model

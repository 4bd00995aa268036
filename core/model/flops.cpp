#include "core/model/flops.h"

#include "kernels/common/errors.h"

namespace seq1f1b::model {
namespace {

// Multiply-adds per token in the matrices of a block and of the head.
double block_matrices(const ModelSpec& spec) {
  return static_cast<double>(
      spec.hidden * (spec.projected_width() + spec.query_width() + spec.ffn_in_width() + spec.ffn));
}
double head_matrix(const ModelSpec& spec) { return static_cast<double>(spec.hidden * spec.vocab); }

// FLOPs of a linear layer are 2 per multiply-add forward, for the input gradient and for the weight
// gradient alike.
constexpr double kProduct = 2;
constexpr double kAttentionForward = 4, kAttentionBackward = 10;

}  // namespace

double visible_pairs(const SegmentShape& shape) {
  const auto own = static_cast<double>(shape.tokens);
  return own * (static_cast<double>(shape.start) + (own + 1) / 2);
}

double stage_flops(const ModelSpec& spec, const StageLayers& layers, schedule::FeatureSet features,
                   schedule::Kind kind, const SegmentShape& shape) {
  using schedule::Feature;
  using schedule::Kind;
  const double product = kProduct * block_matrices(spec) * layers.blocks;
  const double head = layers.head ? kProduct * head_matrix(spec) : 0;
  const double width = static_cast<double>(spec.query_width()) * layers.blocks;
  const bool trains = features.has(Feature::kBackward);
  const bool splits = features.has(Feature::kSplitBackward);
  const auto total = [&](double per_token, double per_pair) {
    return static_cast<double>(shape.batch_size) *
           (per_token * static_cast<double>(shape.tokens) + per_pair * visible_pairs(shape));
  };
  switch (kind) {
    case Kind::kForward:
      return total(product + (trains ? 0 : head), kAttentionForward * width);
    case Kind::kBackward:
      // The head does its forward here and takes its weight gradient at once.
      return total((splits ? 1 : 2) * product + 3 * head, kAttentionBackward * width);
    case Kind::kWeightGrad:
      return total(product, 0);  // attention has no weights
  }
  throw InternalError("unknown kind of action");
}

double model_flops(const ModelSpec& spec, std::int64_t seq_length) {
  const StageLayers all = stage_layers(spec.layers, 1, 0);
  const SegmentShape whole{
      .batch_size = 1, .start = 0, .tokens = seq_length, .capacity = seq_length};
  const schedule::FeatureSet trains{schedule::Feature::kBackward};
  return stage_flops(spec, all, trains, schedule::Kind::kForward, whole) +
         stage_flops(spec, all, trains, schedule::Kind::kBackward, whole);
}

schedule::SegmentCost block_cost(const ModelSpec& spec) {
  const double pair = (kAttentionForward + kAttentionBackward) *
                      static_cast<double>(spec.query_width() * spec.layers);
  // S queries that end at position E see S (E - S / 2) + S / 2 pairs: the last term is per token.
  return {.attention = pair,
          .linear = 3 * kProduct * block_matrices(spec) * spec.layers + pair / 2};
}

}  // namespace seq1f1b::model

// The cost model: what an action of each kind costs, and the cuts that follow from it.
#include "core/model/flops.h"

#include <algorithm>

#include "core/plan/unit_geometry.h"
#include "core/schedule/catalogue.h"
#include "core/simulate/timeline.h"
#include "tests/catch.h"

namespace seq1f1b::model {
namespace {

using schedule::Feature;
using schedule::FeatureSet;
using schedule::Kind;

constexpr FeatureSet kEvaluates = {};
const FeatureSet kTrains = {Feature::kBackward};
const FeatureSet kSplits = {Feature::kBackward, Feature::kSplitBackward};

// Two blocks with grouped key heads and a gated feed-forward; numbers of which no two are alike.
ModelSpec small() {
  ModelSpec spec;
  spec.layers = 2;
  spec.hidden = 6;
  spec.heads = 3;
  spec.kv_heads = 1;
  spec.head_dim = 2;
  spec.ffn = 7;
  spec.vocab = 11;
  spec.activation = Activation::kSwiglu;
  return spec;
}
constexpr StageLayers kBlocks{.embedding = true, .first_block = 0, .blocks = 2, .head = false};
constexpr StageLayers kWithHead{.embedding = false, .first_block = 0, .blocks = 2, .head = true};
// Multiply-adds per token: query, key and value, output, gate and up, down; and the head.
constexpr double kMatrices = 2 * 6 * ((3 + 1 + 1) * 2 + 3 * 2 + 2 * 7 + 7), kHead = 6 * 11;
constexpr double kWidth = 2 * 3 * 2;  // layers, heads, columns

SegmentShape shape(std::int64_t start, std::int64_t tokens, std::int64_t batch = 1) {
  return {.batch_size = batch, .start = start, .tokens = tokens, .capacity = 100};
}

ModelSpec spec_of_2_7b() {
  ModelSpec spec;
  spec.layers = 32;
  spec.hidden = 2560;
  spec.heads = spec.kv_heads = 32;
  spec.head_dim = 80;
  spec.ffn = 4 * 2560;
  spec.vocab = 50304;
  return spec;
}

}  // namespace

TEST_CASE("FLOPs count tokens and visible pairs", "[model]") {
  // The first segment's rows see 1 + 2 + 3 keys, the second's 4 + 5.
  CHECK(visible_pairs(shape(0, 3)) == 6);
  CHECK(visible_pairs(shape(3, 2)) == 9);
  CHECK(stage_flops(small(), kBlocks, kTrains, Kind::kForward, shape(0, 3)) ==
        2 * kMatrices * 3 + 4 * kWidth * 6);
  CHECK(stage_flops(small(), kBlocks, kTrains, Kind::kForward, shape(3, 2)) ==
        2 * kMatrices * 2 + 4 * kWidth * 9);
  CHECK(stage_flops(small(), kBlocks, kTrains, Kind::kBackward, shape(3, 2)) ==
        4 * kMatrices * 2 + 10 * kWidth * 9);
  CHECK(stage_flops(small(), kBlocks, kTrains, Kind::kForward, shape(3, 2, 4)) ==
        4 * (2 * kMatrices * 2 + 4 * kWidth * 9));
}

TEST_CASE("visible pairs do not depend on the cuts", "[model]") {
  CHECK(visible_pairs(shape(0, 7)) + visible_pairs(shape(7, 1)) + visible_pairs(shape(8, 5)) +
            visible_pairs(shape(13, 3)) ==
        16 * 17 / 2);
}

TEST_CASE("the head works in the backward where there is one", "[model]") {
  const auto cost = [](FeatureSet features, Kind kind) {
    return stage_flops(small(), kWithHead, features, kind, shape(0, 2)) -
           stage_flops(small(), kBlocks, features, kind, shape(0, 2));
  };
  CHECK(cost(kEvaluates, Kind::kForward) == 2 * kHead * 2);
  CHECK(cost(kTrains, Kind::kForward) == 0);
  CHECK(cost(kTrains, Kind::kBackward) == 6 * kHead * 2);
  CHECK(cost(kSplits, Kind::kBackward) == 6 * kHead * 2);
  CHECK(cost(kSplits, Kind::kWeightGrad) == 0);
}

TEST_CASE("a split backward and its weight gradient cost what a whole one does", "[model]") {
  const auto cost = [](FeatureSet features, Kind kind) {
    return stage_flops(small(), kWithHead, features, kind, shape(3, 2));
  };
  CHECK(cost(kSplits, Kind::kWeightGrad) == 2 * kMatrices * 2);
  CHECK(cost(kSplits, Kind::kBackward) + cost(kSplits, Kind::kWeightGrad) ==
        cost(kTrains, Kind::kBackward));
}

TEST_CASE("the whole model is its stages, and its blocks are what cuts even out", "[model]") {
  const double whole = model_flops(small(), 23);
  CHECK(whole == 6 * (kMatrices + kHead) * 23 + 14 * kWidth * 276);
  double blocks = 0;
  for (const Kind kind : {Kind::kForward, Kind::kBackward})
    blocks += stage_flops(small(), kBlocks, kTrains, kind, shape(0, 23));
  CHECK(block_cost(small())(23, 23) == Approx(blocks).epsilon(1e-12));
}

// METHOD section 7: 2.7B, 32K, P = 8, M = 16, k = 8, the layers alone.
TEST_CASE("equal FLOPs of the blocks give METHOD's bubble and peak", "[model]") {
  const ModelSpec spec = spec_of_2_7b();
  const schedule::SegmentCost cost = block_cost(spec);
  const std::vector<std::int64_t> lengths = schedule::partition_flops(32768, 8, 1, cost);
  std::vector<double> costs;
  double end = 0;
  for (const std::int64_t length : lengths) {
    end += static_cast<double>(length);
    costs.push_back(cost(static_cast<double>(length), end));
  }
  // Each of seven lengths is cut down by less than a token, and the first gets what is left over.
  const double excess = 8.0 / static_cast<double>(std::ranges::min(lengths));
  CHECK(std::ranges::max(costs) / std::ranges::min(costs) - 1 < excess);

  const plan::UnitGeometry units(1, lengths);
  const auto schedule = schedule::make_schedule({"seq1f1b", 8, 1, 16, 8});
  const simulate::Timeline timeline =
      simulate::simulate(schedule, [&](const schedule::Action& action, int) {
        return stage_flops(spec, {.embedding = false, .first_block = 0, .blocks = 4, .head = false},
                           kTrains, action.kind, units.shape(action.unit));
      });
  CHECK(timeline.bubble == Approx(0.0705).margin(0.00005));
  CHECK(simulate::peak_live_micro_batches(schedule, lengths).front() == Approx(2.14).margin(0.005));
}

}  // namespace seq1f1b::model

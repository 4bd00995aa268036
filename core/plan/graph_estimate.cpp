#include "core/plan/graph_estimate.h"

#include <algorithm>
#include <vector>

namespace seq1f1b::plan {
namespace {

using schedule::Action;
using schedule::Kind;

// Per block. Forward: 2 norms, 4 products, projection to the carry, attention in up to 2 kernels,
// activation. Input gradient: 4 products, activation, 2 norms of 2 kernels each, attention in 3,
// projection from the carry. Weight gradient: 4 products, each with a bias in 2 kernels, 2 norms,
// activation.
constexpr std::size_t kForward = 10, kInputGradient = 13, kWeightGradient = 15;
// Per chunk of logits: norm, product, loss in 2; backward 2 products and a norm of 2 more.
constexpr std::size_t kHeadForward = 4, kHeadBackward = 8;
// Lookup; sort-free sums in up to 3.
constexpr std::size_t kEmbeddingForward = 1, kEmbeddingBackward = 3;

}  // namespace

std::size_t estimated_launches(const JobPlan& job, int stage, const Action& action,
                               schedule::FeatureSet features) {
  const model::StageLayers layers = job.layers_of(stage);
  const auto blocks = static_cast<std::size_t>(layers.blocks);
  const std::int64_t rows = job.units.shape(action.unit).rows();
  const std::int64_t chunk = model::logit_rows(job.spec, rows);
  const auto chunks = static_cast<std::size_t>((rows + chunk - 1) / chunk);
  switch (action.kind) {
    case Kind::kForward:
      return blocks * kForward + (layers.embedding ? kEmbeddingForward : 0) +
             (layers.head && !features.has(schedule::Feature::kBackward) ? chunks * kHeadForward
                                                                         : 0);
    case Kind::kBackward:
      return blocks * (kInputGradient +
                       (features.has(schedule::Feature::kSplitBackward) ? 0 : kWeightGradient)) +
             (layers.embedding ? kEmbeddingBackward : 0) +
             (layers.head ? chunks * kHeadBackward : 0);
    case Kind::kWeightGrad:
      return blocks * kWeightGradient;
  }
  return 0;
}

std::size_t estimated_graph_bytes(const JobPlan& job, int pipeline_rank,
                                  const schedule::MemoryPlan& training,
                                  const schedule::MemoryPlan& evaluation) {
  const std::vector<int> stages = job.stages_of(pipeline_rank);
  const auto of = [&](const schedule::Schedule& schedule, const schedule::MemoryPlan& memory) {
    const auto& order = schedule.orders[static_cast<std::size_t>(pipeline_rank)];
    std::size_t launches = 0;
    for (const std::size_t index : memory.first_of_graph()) {
      const int stage = stages[static_cast<std::size_t>(order[index].chunk)];
      launches += estimated_launches(job, stage, order[index], schedule.features);
    }
    return launches * kBytesPerLaunch;
  };
  return of(job.training, training) + of(job.evaluation, evaluation);
}

}  // namespace seq1f1b::plan

#include "core/plan/rank_plan.h"

#include <algorithm>

#include "core/model/stage.h"
#include "core/plan/graph_estimate.h"
#include "core/plan/inputs.h"
#include "kernels/cuda/module.h"
#include "kernels/cuda/scratch.h"

namespace seq1f1b::plan {

using model::aligned;

std::vector<EdgeEnd> edge_ends(const JobPlan& job, int pipeline_rank) {
  const std::size_t bytes = aligned(job.most_message_bytes());
  // Evaluation sends over edges of training; local ones serve whichever needs more.
  const auto buffers_of_local = [&](const schedule::Edge& edge) {
    return std::max(schedule::local_buffers(job.training, edge),
                    schedule::local_buffers(job.evaluation, edge));
  };
  std::vector<EdgeEnd> ends;
  for (const schedule::Edge& edge : schedule::edges_of(job.training)) {
    if (edge.is_local()) {
      if (edge.from_rank == pipeline_rank)
        ends.push_back({edge, true, buffers_of_local(edge), bytes});
      continue;
    }
    if (edge.from_rank == pipeline_rank)
      ends.push_back({edge, true, job.training.depth.send_buffers, bytes});
    if (edge.to_rank == pipeline_rank)
      ends.push_back({edge, false, job.training.depth.receive_buffers, bytes});
  }
  return ends;
}

parameters::Layout layout_of(const JobPlan& job, int pipeline_rank) {
  const std::vector<int> stages = job.stages_of(pipeline_rank);
  return parameters::Layout(job.table, [&](const parameters::Use& use) {
    return std::any_of(stages.begin(), stages.end(),
                       [&](int stage) { return model::uses_on_stage(job.layers_of(stage), use); });
  });
}

namespace {

// The largest operands of any operation of the rank.
kernels::cuda::ScratchShape scratch_shape(const JobPlan& job, const parameters::Layout& layout,
                                          int pipeline_rank) {
  const model::ModelSpec& spec = job.spec;
  kernels::cuda::ScratchShape shape;
  shape.micro_batch = job.config.training.micro_batch_size;
  shape.tokens = job.units.most_tokens();
  shape.seq_length = job.config.training.seq_length;
  shape.hidden = spec.hidden;
  shape.ffn_in = spec.ffn_in_width();
  shape.vocab = spec.vocab;
  shape.heads = spec.heads;
  shape.kv_heads = spec.kv_heads;
  shape.head_dim = spec.head_dim;
  if (input_needs(job, pipeline_rank).labels)
    shape.logit_rows = model::logit_rows(spec, shape.micro_batch * shape.tokens);
  for (const auto& row : layout.rows())
    shape.largest_tensor = std::max(shape.largest_tensor, row.info.elements());
  shape.fp32 = job.precision.compute == kernels::Dtype::kF32;
  shape.deterministic = job.config.runtime.deterministic == "true";
  shape.own_attention = job.config.runtime.attention != "cudnn";
  shape.cudnn = job.config.runtime.attention != "own";  // auto may choose either
  return shape;
}

}  // namespace

RankPlan plan_rank(const JobPlan& job, int pipeline_rank) {
  RankPlan plan;

  const parameters::Layout layout = layout_of(job, pipeline_rank);
  plan.parameters = parameters::store_bytes(layout, job.precision.compute, job.precision.accumulate,
                                            parameters::Purpose::kTraining);
  plan.sums = {.tensors = job.table.size(),
               .others = 2 + static_cast<std::size_t>(mesh_of(job).size())};
  plan.scalars =
      aligned(optimizer::Optimizer::scratch_bytes(plan.sums)) + 2 * aligned(sizeof(double));

  plan.inputs = input_bytes(job, input_needs(job, pipeline_rank));
  const std::span<const model::SegmentShape> shapes = job.units.bounds();
  std::vector<schedule::ChunkDemand> training_demands, evaluation_demands;
  for (const int stage : job.stages_of(pipeline_rank)) {
    const model::StageLayers layers = job.layers_of(stage);
    const auto demand = [&](const schedule::Schedule& schedule) {
      return model::Stage(job.spec, layers, job.precision, schedule.features).demand(shapes);
    };
    training_demands.push_back(demand(job.training));
    evaluation_demands.push_back(demand(job.evaluation));
  }
  for (const EdgeEnd& end : edge_ends(job, pipeline_rank))
    plan.channels += end.buffer_bytes * static_cast<std::size_t>(end.buffers);
  plan.training = schedule::plan_memory(job.training, pipeline_rank, training_demands);
  plan.evaluation = schedule::plan_memory(job.evaluation, pipeline_rank, evaluation_demands);
  if (job.on_cuda()) {
    const kernels::cuda::ScratchShape shape = scratch_shape(job, layout, pipeline_rank);
    plan.scratch = aligned(kernels::cuda::scratch_bytes(shape));
    for (const model::SegmentShape& segment : shapes)
      if (shape.cudnn)
        plan.cudnn_bytes =
            std::max(plan.cudnn_bytes, kernels::cuda::cudnn_workspace_estimate(
                                           shape, segment.tokens, segment.start + segment.tokens));
    if (job.config.runtime.cuda_graphs == "true")
      plan.graph_bytes = estimated_graph_bytes(job, pipeline_rank, plan.training, plan.evaluation);
  }

  // Host side: the largest checkpoint file, with both moments; where tokens or labels are read, one
  // step of samples, a token longer each, and their arranged copy.
  std::size_t largest = 0;
  std::size_t file_bytes = 0;
  std::string file;
  for (const auto& row : layout.rows()) {
    if (row.info.file != file) file_bytes = 0;
    file = row.info.file;
    file_bytes += 3 * static_cast<std::size_t>(row.info.elements()) *
                  kernels::dtype_bytes(job.precision.accumulate);
    largest = std::max(largest, file_bytes);
  }
  plan.host_bytes = largest + (job.on_cuda() ? kernels::cuda::kStagingBytes : 0);
  if (plan.inputs > 0)
    plan.host_bytes +=
        4 * static_cast<std::size_t>(job.sequences() * (2 * job.config.training.seq_length + 1));
  return plan;
}

std::size_t RankPlan::activations() const {
  return std::max(training.packed_bytes(), evaluation.packed_bytes());
}
std::size_t RankPlan::planned_bytes() const {
  return parameters.total() + scalars + inputs + channels + scratch + activations();
}
std::size_t RankPlan::live_bytes() const {
  return parameters.total() + scalars + inputs + channels + scratch +
         std::max(training.live_bytes(), evaluation.live_bytes());
}

}  // namespace seq1f1b::plan

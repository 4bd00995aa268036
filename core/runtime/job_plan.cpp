#include "core/runtime/job_plan.h"

#include <algorithm>

#include "core/config/compute_dtype.h"
#include "core/runtime/record_estimate.h"
#include "core/runtime/step_inputs.h"
#include "core/schedule/partition.h"
#include "kernels/common/errors.h"
#include "kernels/cuda/module.h"
#include "kernels/cuda/scratch.h"

namespace seq1f1b::runtime {
namespace {

using model::aligned;
using schedule::Channel;

schedule::SegmentCost cost_of(const model::ModelSpec& spec) {
  return schedule::authors_cost(spec.layers, static_cast<int>(spec.hidden),
                                static_cast<int>(spec.heads), static_cast<int>(spec.head_dim),
                                spec.ffn, spec.vocab);
}

std::vector<std::int64_t> cut(const config::Config& config, const model::ModelSpec& spec) {
  const auto& wanted = config.schedule;
  const std::int64_t tokens = config.training.seq_length;
  if (wanted.partition == "lengths")
    return schedule::check_lengths(wanted.segment_lengths, tokens, wanted.segments,
                                   wanted.alignment);
  if (wanted.partition == "even")
    return schedule::partition_even(tokens, wanted.segments, wanted.alignment);
  return schedule::partition_flops(tokens, wanted.segments, wanted.alignment, cost_of(spec));
}

}  // namespace

model::Precision precision_of(const config::RuntimeConfig& runtime) {
  using kernels::Dtype;
  const std::string dtype = config::compute_dtype(runtime);
  if (dtype == "fp64") return {Dtype::kF64, Dtype::kF64};
  if (dtype == "bf16") return {Dtype::kBf16, Dtype::kF32};
  SEQ1F1B_ASSERT(dtype == "fp32", "no precision for ", dtype);
  return {Dtype::kF32, Dtype::kF32};
}

comm::Mesh mesh_of(const JobPlan& job) {
  const auto& parallel = job.config.parallel;
  return {.tp = parallel.tensor_model_parallel_size,
          .cp = parallel.context_parallel_size,
          .pp = parallel.pipeline_model_parallel_size,
          .dp = job.derived.data_parallel_size};
}

JobPlan plan_job(const config::Config& config, const config::Derived& derived) {
  JobPlan job;
  job.config = config;
  job.derived = derived;
  job.spec = model::model_spec(config.model);
  SEQ1F1B_ASSERT(job.spec.vocab > 0, "the vocabulary must be known before planning");
  job.precision = precision_of(config.runtime);
  if (job.on_cuda()) job.spec.logit_elements = model::kCudaLogitElements;
  job.table = model::parameter_table(job.spec);
  job.segment_lengths = cut(config, job.spec);

  schedule::Spec spec;
  spec.name = config.schedule.name;
  spec.ranks = config.parallel.pipeline_model_parallel_size;
  spec.chunks = config.parallel.virtual_pipeline_model_parallel_size;
  spec.micro_batches = derived.micro_batches;
  spec.segments = static_cast<int>(job.segment_lengths.size());
  job.training = schedule::make_schedule(spec);
  spec.name = "forward_only";
  job.evaluation = schedule::make_schedule(spec);
  schedule::require_valid(job.training, job.depth);
  schedule::require_valid(job.evaluation, job.depth);
  return job;
}

std::int64_t JobPlan::parameters() const {
  std::int64_t count = 0;
  for (const auto& row : table) count += row.elements();
  return count;
}

model::StageLayers JobPlan::layers_of(int stage) const {
  return model::stage_layers(spec.layers, training.stages(), stage);
}

std::vector<int> JobPlan::stages_of(int pipeline_rank) const {
  return training.placement.at(static_cast<std::size_t>(pipeline_rank));
}

double JobPlan::model_flops_per_step() const {
  const auto tokens = static_cast<double>(config.training.seq_length);
  return 3.0 * config.training.global_batch_size * cost_of(spec)(tokens, tokens);
}

std::vector<simulate::StageFlops> JobPlan::stage_flops() const {
  std::vector<simulate::StageFlops> result;
  const auto matrix = static_cast<double>(
      spec.hidden * (spec.projected_width() + spec.query_width() + spec.ffn_in_width() + spec.ffn));
  const auto width = static_cast<double>(spec.query_width());
  for (int stage = 0; stage < training.stages(); ++stage) {
    const model::StageLayers layers = layers_of(stage);
    simulate::StageFlops flops;
    flops.linear_forward = 2.0 * matrix * layers.blocks;
    flops.linear_backward = 4.0 * matrix * layers.blocks;
    flops.attention_forward = 4.0 * width * layers.blocks;
    flops.attention_backward = 10.0 * width * layers.blocks;
    if (layers.head) {
      flops.head_forward = 2.0 * static_cast<double>(spec.hidden * spec.vocab);
      flops.head_backward = 3.0 * flops.head_forward;  // its forward runs there too
    }
    result.push_back(flops);
  }
  return result;
}

simulate::Timeline JobPlan::simulated(bool unit_costs) const {
  return simulate::simulate(
      training, unit_costs ? simulate::unit_cost(training)
                           : simulate::flops_cost(training, stage_flops(), segment_lengths,
                                                  config.training.micro_batch_size));
}

std::vector<ChannelEnd> channel_ends(const JobPlan& job, int pipeline_rank) {
  std::int64_t longest = *std::max_element(job.segment_lengths.begin(), job.segment_lengths.end());
  const std::size_t bytes = aligned(
      static_cast<std::size_t>(job.config.training.micro_batch_size * longest * job.spec.hidden) *
      kernels::dtype_bytes(job.precision.compute));
  std::vector<ChannelEnd> ends;
  for (const Channel& channel : schedule::channels_of(job.training)) {
    if (channel.from_rank == pipeline_rank)
      ends.push_back({channel, true, job.depth.send_buffers, bytes});
    if (channel.to_rank == pipeline_rank)
      ends.push_back({channel, false, job.depth.receive_buffers, bytes});
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
  shape.tokens = *std::ranges::max_element(job.segment_lengths);
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
    shape.largest_tensor = std::max(shape.largest_tensor, row.row.elements());
  shape.fp32 = job.precision.compute == kernels::Dtype::kF32;
  shape.deterministic = job.config.runtime.deterministic == "true";
  shape.cudnn = job.config.runtime.attention != "own";  // auto may choose it
  return shape;
}

}  // namespace

RankPlan plan_rank(const JobPlan& job, int pipeline_rank) {
  const auto& training = job.config.training;
  const std::vector<int> stages = job.stages_of(pipeline_rank);
  RankPlan plan;

  const parameters::Layout layout = layout_of(job, pipeline_rank);
  plan.parameters = parameters::store_bytes(layout, job.precision.compute, job.precision.accumulate,
                                            parameters::Purpose::kTraining);
  plan.sums = {.tensors = job.table.size(),
               .others = 1 + static_cast<std::size_t>(mesh_of(job).size())};
  plan.scalars =
      aligned(optimizer::Optimizer::scratch_bytes(plan.sums)) + 2 * aligned(sizeof(double));

  plan.inputs = StepInputs::bytes(job, input_needs(job, pipeline_rank));
  const auto step_tokens = static_cast<std::size_t>(training.seq_length) *
                           static_cast<std::size_t>(training.micro_batch_size) *
                           static_cast<std::size_t>(job.derived.micro_batches);
  std::vector<schedule::ChunkDemand> training_demands, evaluation_demands;
  for (int stage : stages) {
    const model::StageLayers layers = job.layers_of(stage);
    const model::Stage sizes(job.spec, layers, job.precision, job.training.split_backward);
    training_demands.push_back(
        sizes.demand(model::Mode::kTraining, training.micro_batch_size, job.segment_lengths));
    evaluation_demands.push_back(
        sizes.demand(model::Mode::kEvaluation, training.micro_batch_size, job.segment_lengths));
  }
  for (const ChannelEnd& end : channel_ends(job, pipeline_rank))
    plan.channels += end.buffer_bytes * static_cast<std::size_t>(end.buffers);
  plan.training = schedule::plan_memory(job.training, pipeline_rank, training_demands);
  plan.evaluation = schedule::plan_memory(job.evaluation, pipeline_rank, evaluation_demands);
  if (job.on_cuda()) {
    const kernels::cuda::ScratchShape shape = scratch_shape(job, layout, pipeline_rank);
    plan.scratch = aligned(kernels::cuda::scratch_bytes(shape));
    std::int64_t keys = 0;
    for (const std::int64_t tokens : job.segment_lengths) {
      keys += tokens;
      if (shape.cudnn)
        plan.cudnn_bytes = std::max(plan.cudnn_bytes,
                                    kernels::cuda::cudnn_workspace_estimate(shape, tokens, keys));
    }
    if (job.config.runtime.cuda_graphs == "true")
      plan.record_bytes =
          estimated_record_bytes(job, pipeline_rank, plan.training, plan.evaluation);
  }

  // Host side: the largest checkpoint file, with both moments; where tokens or labels are read, one
  // step of samples, a token longer each, and their arranged copy.
  std::size_t largest = 0;
  std::size_t file_bytes = 0;
  std::string file;
  for (const auto& row : layout.rows()) {
    if (row.row.file != file) file_bytes = 0;
    file = row.row.file;
    file_bytes += 3 * static_cast<std::size_t>(row.row.elements()) *
                  kernels::dtype_bytes(job.precision.accumulate);
    largest = std::max(largest, file_bytes);
  }
  plan.host_bytes = largest + (job.on_cuda() ? kernels::cuda::kStagingBytes : 0);
  if (plan.inputs > 0)
    plan.host_bytes += 4 * (2 * step_tokens + static_cast<std::size_t>(training.global_batch_size));
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

}  // namespace seq1f1b::runtime

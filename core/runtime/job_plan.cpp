#include "core/runtime/job_plan.h"

#include <algorithm>

#include "core/config/compute_dtype.h"
#include "core/schedule/partition.h"
#include "kernels/common/errors.h"

namespace seq1f1b::runtime {
namespace {

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
  SEQ1F1B_ASSERT(wanted.partition == "flops", "schedule.partition ", wanted.partition);
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

std::vector<model::SegmentShape> JobPlan::shapes() const {
  std::vector<model::SegmentShape> shapes;
  std::int64_t start = 0;
  for (const std::int64_t tokens : segment_lengths) {
    shapes.push_back({.batch_size = config.training.micro_batch_size,
                      .start = start,
                      .tokens = tokens,
                      .capacity = config.training.seq_length});
    start += tokens;
  }
  return shapes;
}

std::int64_t JobPlan::longest_segment() const { return *std::ranges::max_element(segment_lengths); }

std::int64_t JobPlan::sequences() const {
  return std::int64_t{derived.micro_batches} * config.training.micro_batch_size;
}

std::string JobPlan::title() const {
  const schedule::Spec& schedule = training.spec;
  const auto count = [](int number, const char* one, const char* many) {
    return concat(number, ' ', number == 1 ? one : many);
  };
  const std::string whole =
      concat(schedule.name, ": ", count(schedule.ranks, "rank", "ranks"), ", ",
             count(schedule.micro_batches, "micro-batch", "micro-batches"));
  return schedule.segments == 1 ? whole : concat(whole, " of ", schedule.segments, " segments");
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

}  // namespace seq1f1b::runtime

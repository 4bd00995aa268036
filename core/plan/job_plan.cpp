#include "core/plan/job_plan.h"

#include <algorithm>

#include "core/config/compute_dtype.h"
#include "core/model/flops.h"
#include "core/schedule/catalogue.h"
#include "core/schedule/partition.h"
#include "core/schedule/validate.h"
#include "kernels/common/errors.h"

namespace seq1f1b::plan {
namespace {

std::vector<std::int64_t> cut(const config::Config& config, const model::ModelSpec& spec) {
  const auto& wanted = config.schedule;
  const std::int64_t tokens = config.training.seq_length;
  if (wanted.partition == "lengths")
    return schedule::check_lengths(wanted.segment_lengths, tokens, wanted.segments,
                                   wanted.alignment);
  if (wanted.partition == "even")
    return schedule::partition_even(tokens, wanted.segments, wanted.alignment);
  if (wanted.partition == "authors")
    return schedule::partition_flops(
        tokens, wanted.segments, wanted.alignment,
        schedule::authors_cost(spec.layers, static_cast<int>(spec.hidden),
                               static_cast<int>(spec.heads), static_cast<int>(spec.head_dim),
                               spec.ffn, spec.vocab));
  SEQ1F1B_ASSERT(wanted.partition == "flops", "schedule.partition ", wanted.partition);
  return schedule::partition_flops(tokens, wanted.segments, wanted.alignment,
                                   model::block_cost(spec));
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
  job.units = UnitGeometry(config.training.micro_batch_size, job.segment_lengths);

  schedule::Spec spec;
  spec.name = config.schedule.name;
  spec.ranks = config.parallel.pipeline_model_parallel_size;
  spec.chunks = config.parallel.virtual_pipeline_model_parallel_size;
  spec.micro_batches = derived.micro_batches;
  spec.segments = static_cast<int>(job.segment_lengths.size());
  job.training = schedule::make_schedule(spec);
  job.evaluation = schedule::evaluation_of(job.training);
  schedule::require_valid(job.training);
  schedule::require_valid(job.evaluation);
  return job;
}

std::int64_t JobPlan::parameters() const {
  std::int64_t count = 0;
  for (const auto& row : table) count += row.elements();
  return count;
}

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

std::size_t JobPlan::message_bytes(schedule::Unit unit) const {
  return static_cast<std::size_t>(units.shape(unit).rows() * spec.hidden) *
         kernels::dtype_bytes(precision.compute);
}

std::size_t JobPlan::most_message_bytes() const {
  return static_cast<std::size_t>(units.most_rows() * spec.hidden) *
         kernels::dtype_bytes(precision.compute);
}

double JobPlan::model_flops_per_step() const {
  return config.training.global_batch_size * model::model_flops(spec, config.training.seq_length);
}

simulate::Cost JobPlan::flops_cost(bool with_head) const {
  return [this, with_head](const schedule::Action& action, int stage) {
    model::StageLayers layers = layers_of(stage);
    layers.head = layers.head && with_head;
    return model::stage_flops(spec, layers, training.features, action.kind,
                              units.shape(action.unit));
  };
}

simulate::Timeline JobPlan::simulated(bool unit_costs) const {
  return simulate::simulate(training, unit_costs ? simulate::unit_cost(training) : flops_cost());
}

}  // namespace seq1f1b::plan

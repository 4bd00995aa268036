#include "core/runtime/rank_runtime.h"

#include <algorithm>

#include "kernels/common/errors.h"
#include "kernels/ops.h"

namespace seq1f1b::runtime {

using kernels::Tensor;
using model::aligned;

RankRuntime::RankRuntime(const JobPlan& job, kernels::Backend& backend, comm::Fabric& fabric,
                         ActionRing* ring, const BeforeActions& before_actions)
    : job_(job),
      backend_(backend),
      fabric_(fabric),
      pipeline_rank_(mesh_of(job).coordinate_of(fabric.world().rank()).pp),
      plan_(plan_rank(job, pipeline_rank_)),
      arena_(*backend.device, plan_.planned_bytes()) {
  std::byte* next = arena_.data();
  const auto take = [&](std::size_t bytes) {
    std::byte* section = next;
    next += bytes;
    return section;
  };
  store_ = std::make_unique<parameters::Store>(layout_of(job, pipeline_rank_), backend.compute,
                                               backend.accumulate, parameters::Purpose::kTraining,
                                               take(plan_.parameters.total()));
  std::byte* scalars = take(plan_.scalars);
  optimizer_ = std::make_unique<optimizer::Optimizer>(job.config.optimizer, *store_, plan_.sums,
                                                      backend, scalars);
  loss_sum_ =
      reinterpret_cast<double*>(scalars + aligned(optimizer::Optimizer::scratch_bytes(plan_.sums)));
  loss_scale_ = loss_sum_ + model::kTensorAlignment / sizeof(double);

  for (int stage : job.stages_of(pipeline_rank_))
    stages_.emplace_back(job.spec, job.layers_of(stage), job.precision, job.training.split_backward,
                         store_.get());
  needs_ = input_needs(job, pipeline_rank_);
  inputs_ = std::make_unique<StepInputs>(job, needs_, *backend.device, take(plan_.inputs),
                                         loss_sum_, loss_scale_);

  make_channels(take(plan_.channels));
  make_tied_groups();
  fabric.connect();
  if (plan_.scratch > 0) backend.ops->use_scratch(take(plan_.scratch), plan_.scratch);
  activations_ = take(plan_.activations());
  if (before_actions) before_actions(plan_, activation_arena());

  std::vector<std::size_t> message_bytes;
  for (const model::SegmentShape& shape : job.shapes())
    message_bytes.push_back(stages_.front().message_bytes(shape));
  const auto make = [&](Pass& pass, const schedule::Schedule& schedule,
                        const schedule::MemoryPlan& memory, model::Mode mode) {
    pass.loop = std::make_unique<StageLoop>(schedule, pipeline_rank_, channels_, message_bytes,
                                            fabric, *backend.device, ring);
    pass.runner = std::make_unique<ModelRunner>(job, schedule, pipeline_rank_, memory, mode,
                                                stages_, backend, *inputs_, activations_);
  };
  make(training_, job.training, plan_.training, model::Mode::kTraining);
  make(evaluation_, job.evaluation, plan_.evaluation, model::Mode::kEvaluation);
  if (!backend.device->is_host()) warm_up();
}

RankRuntime::~RankRuntime() {
  // First of all: where an exception has left messages under way, closing their channels ends them,
  // and the device can come to the end of its queue, which the buffers wait for.
  senders_.clear();
  receivers_.clear();
  tied_.clear();
}

std::span<std::byte> RankRuntime::activation_arena() const {
  return {activations_, plan_.activations()};
}

int RankRuntime::world_rank(int pipeline_rank) const {
  const comm::Mesh mesh = mesh_of(job_);
  comm::Mesh::Coordinate at = mesh.coordinate_of(fabric_.world().rank());
  at.pp = pipeline_rank;
  return mesh.rank_of(at);
}

void RankRuntime::make_channels(std::byte* rings) {
  channels_.resize(stages_.size());
  message_buffers_.resize(stages_.size());
  for (const ChannelEnd& end : channel_ends(job_, pipeline_rank_)) {
    const schedule::Channel& channel = end.channel;
    const bool activation = channel.direction == schedule::Direction::kActivation;
    std::vector<std::span<std::byte>> buffers;
    for (int i = 0; i < end.buffers; ++i, rings += end.buffer_bytes)
      buffers.emplace_back(rings, end.buffer_bytes);
    const int own_stage = end.sends ? channel.producing_stage : channel.consuming_stage();
    const auto chunk =
        static_cast<std::size_t>(schedule::place_of_stage(job_.training, own_stage).chunk);
    ChunkChannels& ends = channels_[chunk];
    MessageBuffers& memory = message_buffers_[chunk];
    if (end.sends) {
      for (const auto& buffer : buffers)
        (activation ? memory.activation_out : memory.gradient_out).push_back(buffer.data());
      senders_.push_back(
          fabric_.make_sender(world_rank(channel.to_rank), channel.id(), std::move(buffers)));
      (activation ? ends.activation_out : ends.gradient_out) = senders_.back().get();
      (activation ? ends.next_rank : ends.previous_rank) = channel.to_rank;
    } else {
      (activation ? memory.activation_in : memory.gradient_in) = buffers.front().data();
      receivers_.push_back(
          fabric_.make_receiver(world_rank(channel.from_rank), channel.id(), std::move(buffers)));
      (activation ? ends.activation_in : ends.gradient_in) = receivers_.back().get();
      (activation ? ends.previous_rank : ends.next_rank) = channel.from_rank;
    }
  }
  // The schedule may have such an edge; what carries it would be planned and made here.
  for (const int stage : job_.stages_of(pipeline_rank_))
    SEQ1F1B_ASSERT(stage + 1 == job_.training.stages() ||
                       schedule::place_of_stage(job_.training, stage + 1).rank != pipeline_rank_,
                   "stage ", stage, " hands its output to stage ", stage + 1,
                   " on the same rank, which nothing carries yet");
}

// Every rank takes part in making every group, in the order of the table.
void RankRuntime::make_tied_groups() {
  for (const auto& row : job_.table) {
    std::vector<int> members;
    for (const auto& use : row.uses)
      for (int stage = 0; stage < job_.training.stages(); ++stage)
        if (model::uses_on_stage(job_.layers_of(stage), use)) {
          const int member = world_rank(schedule::place_of_stage(job_.training, stage).rank);
          if (std::find(members.begin(), members.end(), member) == members.end())
            members.push_back(member);
        }
    if (members.size() < 2) continue;
    auto group = fabric_.make_group(members);
    if (!group) continue;
    const auto rows = store_->layout().rows();
    const auto local = std::find_if(rows.begin(), rows.end(), [&](const auto& candidate) {
      return candidate.info.name == row.name;
    });
    tied_.push_back({std::move(group), static_cast<std::size_t>(local - rows.begin())});
  }
}

// With samples of zeros, and before any message is announced: nothing waits for another rank yet.
// Watched, since a kernel that never ends would be waited for without a deadline.
void RankRuntime::warm_up() {
  const auto watch = fabric_.world().watch("warming up: every action once on the device");
  inputs_->upload(std::vector<std::int32_t>(
      static_cast<std::size_t>(job_.sequences() * (job_.config.training.seq_length + 1))));
  for (const Pass* pass : {&training_, &evaluation_}) {
    pass->runner->warm_up(message_buffers_);
    backend_.device->synchronize();  // its own work alone
    watch->next("evaluation");
  }
}

PassResult RankRuntime::run(Pass& pass, std::span<const std::int32_t> samples, std::int64_t step) {
  inputs_->upload(samples);
  pass.loop->run(*pass.runner, step);
  PassResult result;
  result.busy_seconds = pass.loop->busy_seconds();
  result.total_seconds = pass.loop->total_seconds();
  return result;
}

PassResult RankRuntime::train_pass(std::span<const std::int32_t> samples, std::int64_t step) {
  optimizer_->zero_gradients();
  return run(training_, samples, step);
}

PassResult RankRuntime::evaluate_pass(std::span<const std::int32_t> samples, std::int64_t step) {
  PassResult result = run(evaluation_, samples, step);
  if (needs_.labels) backend_.device->download(&result.loss_sum, loss_sum_, sizeof(double));
  return result;
}

void RankRuntime::exchange_tied_gradients(std::int64_t step) {
  optimizer_->sum_local_uses();
  for (const TiedGroup& tied : tied_) {
    const auto& row = store_->layout().rows()[tied.row];
    const Tensor gradient = store_->gradient(row);
    const auto what = [&] {
      return concat("exchanging gradients of the tied ", row.info.name, " (step ", step, ")");
    };
    tied.group->all_reduce_sum(gradient, what);
  }
}

}  // namespace seq1f1b::runtime

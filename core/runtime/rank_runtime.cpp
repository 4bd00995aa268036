#include "core/runtime/rank_runtime.h"

#include <algorithm>

#include "kernels/common/errors.h"
#include "kernels/ops.h"

namespace seq1f1b::runtime {

using kernels::Dtype;
using kernels::Tensor;
using model::aligned;
using schedule::Action;
using schedule::Kind;
using schedule::Lifetime;

// Runs the actions of one schedule on the stages of a rank, with the storage that the plan gave
// each.
class RankRuntime::Runner final : public ActionRunner {
 public:
  Runner(RankRuntime& rank, const schedule::Schedule& schedule, const schedule::MemoryPlan& memory,
         model::Mode mode)
      : rank_(rank),
        mode_(mode),
        segments_(schedule.spec.segments),
        next_(static_cast<std::size_t>(schedule.spec.chunks) * kFlows) {
    const auto& order = schedule.orders[static_cast<std::size_t>(rank.pipeline_rank_)];
    std::int64_t start = 0;
    for (std::int64_t length : rank.job_.segment_lengths) {
      extents_.push_back({.micro_batch = rank.job_.config.training.micro_batch_size,
                          .start = start,
                          .tokens = length,
                          .capacity = rank.job_.config.training.seq_length});
      start += length;
    }
    storage_.reserve(order.size());
    for (std::size_t index = 0; index < order.size(); ++index) {
      const Action& action = order[index];
      const auto at = [&](const schedule::Block& block) {
        return rank.activations_ + block.offset;
      };
      const auto of = [&](Lifetime lifetime) {
        return at(memory.find(lifetime, action.chunk, action.unit));
      };
      model::StageStorage storage;
      storage.unit = of(Lifetime::kUnit);
      if (action.kind != Kind::kWeightGrad) storage.carry = of(Lifetime::kCarry);
      if (action.kind == Kind::kBackward) storage.carry_gradient = of(Lifetime::kCarryGradient);
      if (action.kind != Kind::kForward && schedule.split_backward)
        storage.stash = of(Lifetime::kStash);
      storage.workspace = at(memory.workspace_of(index));
      storage_.push_back(storage);
    }
  }

  void run(const Action& action, std::size_t index, const std::byte* received, std::byte* output,
           const std::function<void()>& taken) override {
    const auto& unit = action.unit;
    const model::Extent& extent = extents_[static_cast<std::size_t>(unit.segment)];
    const model::Stage& stage = rank_.stages_[static_cast<std::size_t>(action.chunk)];
    kernels::Ops& ops = *rank_.backend_.ops;
    expect_segment(action);
    switch (action.kind) {
      case Kind::kForward:
        stage.forward(ops, extent, mode_, storage_[index], input(unit, extent), received, output,
                      taken);
        break;
      case Kind::kBackward:
        stage.backward(ops, extent, unit.segment == segments_ - 1, storage_[index],
                       input(unit, extent), received, output, taken);
        break;
      case Kind::kWeightGrad:
        stage.weight_grad(ops, extent, storage_[index]);
        break;
    }
  }

 private:
  static constexpr std::size_t kFlows = 2;  // forward, backward

  model::StageInput input(const schedule::Unit& unit, const model::Extent& extent) const {
    const auto& training = rank_.job_.config.training;
    const std::int64_t offset = unit.micro_batch * training.micro_batch_size * training.seq_length +
                                training.micro_batch_size * extent.start;
    model::StageInput input;
    if (rank_.needs_tokens_)
      input.tokens =
          Tensor(rank_.tokens_ + offset, Dtype::kI32, {extent.micro_batch, extent.tokens});
    if (rank_.needs_labels_) {
      input.loss.labels = Tensor(rank_.labels_ + offset, Dtype::kI32, {extent.rows()});
      input.loss.loss_scale = rank_.loss_scale_;
      input.loss.loss_sum = rank_.loss_sum_;
    }
    return input;
  }

  // A segment out of order gives silently wrong gradients: never go on.
  void expect_segment(const Action& action) {
    if (action.kind == Kind::kWeightGrad) return;
    const bool forward = action.kind == Kind::kForward;
    schedule::Unit& next =
        next_[static_cast<std::size_t>(action.chunk) * kFlows + (forward ? 0 : 1)];
    const int first = forward ? 0 : segments_ - 1;
    if (action.unit.segment == first) next = action.unit;
    SEQ1F1B_ASSERT(next == action.unit, schedule::to_string(action),
                   " comes out of the order of its segments");
    next.segment += forward ? 1 : -1;
  }

  RankRuntime& rank_;
  model::Mode mode_;
  int segments_;
  std::vector<model::Extent> extents_;        // by segment
  std::vector<model::StageStorage> storage_;  // by action
  std::vector<schedule::Unit> next_;          // [chunk][forward, backward]
};

RankRuntime::RankRuntime(const JobPlan& job, kernels::Backend& backend, comm::Fabric& fabric,
                         const std::string& ring_path)
    : job_(job),
      backend_(backend),
      fabric_(fabric),
      pipeline_rank_(mesh_of(job).coordinate_of(fabric.world().rank()).pp),
      plan_(plan_rank(job, pipeline_rank_)),
      arena_(*backend.device, plan_.planned_bytes()),
      issued_(backend.device->make_event()) {
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
  optimizer_ =
      std::make_unique<optimizer::Optimizer>(job.config.optimizer, *store_, backend, scalars);
  loss_sum_ = reinterpret_cast<double*>(
      scalars + aligned(optimizer::Optimizer::scratch_bytes(store_->layout())));
  loss_scale_ = loss_sum_ + model::kTensorAlignment / sizeof(double);

  for (int stage : job.stages_of(pipeline_rank_)) {
    const model::StageLayers layers = job.layers_of(stage);
    needs_tokens_ = needs_tokens_ || layers.embedding;
    needs_labels_ = needs_labels_ || layers.head;
    stages_.emplace_back(job.spec, layers, job.precision, job.training.split_backward,
                         store_.get());
  }
  const auto& training = job.config.training;
  const auto step_tokens = static_cast<std::size_t>(training.seq_length) *
                           static_cast<std::size_t>(training.micro_batch_size) *
                           static_cast<std::size_t>(job.derived.micro_batches);
  const std::size_t input_bytes = aligned(step_tokens * sizeof(std::int32_t));
  if (needs_tokens_) tokens_ = reinterpret_cast<std::int32_t*>(take(input_bytes));
  if (needs_labels_) labels_ = reinterpret_cast<std::int32_t*>(take(input_bytes));
  if (needs_samples()) staging_.resize(step_tokens);

  if (!ring_path.empty()) ring_.emplace(ring_path);
  connect(take(plan_.channels));
  activations_ = take(plan_.activations());

  std::vector<std::size_t> message_bytes;
  for (std::int64_t length : job.segment_lengths)
    message_bytes.push_back(stages_.front().message_bytes(
        {.micro_batch = training.micro_batch_size, .tokens = length}));
  ActionRing* ring = ring_ ? &*ring_ : nullptr;
  training_loop_ =
      std::make_unique<StageLoop>(job.training, pipeline_rank_, channels_, message_bytes, ring);
  evaluation_loop_ =
      std::make_unique<StageLoop>(job.evaluation, pipeline_rank_, channels_, message_bytes, ring);
  training_runner_ =
      std::make_unique<Runner>(*this, job.training, plan_.training, model::Mode::kTraining);
  evaluation_runner_ =
      std::make_unique<Runner>(*this, job.evaluation, plan_.evaluation, model::Mode::kEvaluation);
}

RankRuntime::~RankRuntime() = default;

std::span<std::byte> RankRuntime::activation_arena() const {
  return {activations_, plan_.activations()};
}

void RankRuntime::connect(std::byte* rings) {
  const comm::Mesh mesh = mesh_of(job_);
  const comm::Mesh::Coordinate here = mesh.coordinate_of(fabric_.world().rank());
  const auto world_rank = [&](int pipeline_rank) {
    comm::Mesh::Coordinate at = here;
    at.pp = pipeline_rank;
    return mesh.rank_of(at);
  };
  channels_.resize(stages_.size());
  for (const ChannelEnd& end : channel_ends(job_, pipeline_rank_)) {
    const schedule::Channel& channel = end.channel;
    const bool activation = channel.direction == schedule::Direction::kActivation;
    std::vector<std::span<std::byte>> buffers;
    for (int i = 0; i < end.buffers; ++i, rings += end.buffer_bytes)
      buffers.emplace_back(rings, end.buffer_bytes);
    const int id = channel.producing_stage * 2 + (activation ? 0 : 1);
    const int consuming_stage = channel.producing_stage + (activation ? 1 : -1);
    if (end.sends) {
      senders_.push_back(fabric_.make_sender(world_rank(channel.to_rank), id, std::move(buffers)));
      auto& ends = channels_[static_cast<std::size_t>(
          schedule::place_of_stage(job_.training, channel.producing_stage).chunk)];
      (activation ? ends.activation_out : ends.gradient_out) = senders_.back().get();
      (activation ? ends.next_rank : ends.previous_rank) = channel.to_rank;
    } else {
      receivers_.push_back(
          fabric_.make_receiver(world_rank(channel.from_rank), id, std::move(buffers)));
      auto& ends = channels_[static_cast<std::size_t>(
          schedule::place_of_stage(job_.training, consuming_stage).chunk)];
      (activation ? ends.activation_in : ends.gradient_in) = receivers_.back().get();
      (activation ? ends.previous_rank : ends.next_rank) = channel.from_rank;
    }
  }
  // Every rank takes part in making every group, in the order of the table.
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
      return candidate.row.name == row.name;
    });
    tied_.push_back({std::move(group), static_cast<std::size_t>(local - rows.begin())});
  }
  fabric_.connect();
}

void RankRuntime::settle(const comm::Describe& what) {
  backend_.device->record(*issued_);
  fabric_.settle(*issued_, what);
}

void RankRuntime::upload_samples(std::span<const std::int32_t> samples) {
  if (!needs_samples()) return;
  const auto& training = job_.config.training;
  const std::int64_t window = training.seq_length + 1;
  const std::int64_t sequences = job_.derived.micro_batches * training.micro_batch_size;
  SEQ1F1B_ASSERT(static_cast<std::int64_t>(samples.size()) == sequences * window,
                 "samples of a step: ", samples.size(), " tokens");
  // Units lie one behind the other, [micro_batch, tokens] each, so that every unit is contiguous.
  const auto arrange = [&](std::int64_t shift, std::int32_t* device) {
    std::int32_t* target = staging_.data();
    for (std::int64_t first = 0; first < sequences; first += training.micro_batch_size) {
      std::int64_t start = 0;
      for (std::int64_t length : job_.segment_lengths) {
        for (std::int64_t i = 0; i < training.micro_batch_size; ++i) {
          const std::int32_t* source = samples.data() + (first + i) * window + start + shift;
          // Padding (-1) is no label; as a token that is read it stands for any.
          target = std::transform(source, source + length, target, [&](std::int32_t token) {
            return shift == 0 ? std::max(token, 0) : token;
          });
        }
        start += length;
      }
    }
    backend_.device->upload(device, staging_.data(), staging_.size() * sizeof(std::int32_t));
  };
  if (needs_labels_) {
    // Labels are shifted over the whole sequence before it is cut: the last token of a segment
    // predicts the first of the next.
    arrange(1, labels_);
    const auto counted = std::count_if(staging_.begin(), staging_.end(),
                                       [](std::int32_t label) { return label >= 0; });
    const double scale = counted > 0 ? 1.0 / static_cast<double>(counted) : 0.0;
    const double zero = 0.0;
    backend_.device->upload(loss_scale_, &scale, sizeof scale);
    backend_.device->upload(loss_sum_, &zero, sizeof zero);
  }
  if (needs_tokens_) arrange(0, tokens_);
}

PassResult RankRuntime::pass(StageLoop& loop, Runner& runner, std::span<const std::int32_t> samples,
                             std::int64_t step) {
  upload_samples(samples);
  loop.run(runner, step);
  PassResult result;
  settle([&] { return concat("finishing the pass of step ", step); });
  if (needs_labels_) backend_.device->download(&result.loss_sum, loss_sum_, sizeof(double));
  result.busy_seconds = loop.busy_seconds();
  result.total_seconds = loop.total_seconds();
  return result;
}

PassResult RankRuntime::train_pass(std::span<const std::int32_t> samples, std::int64_t step) {
  optimizer_->zero_gradients();
  return pass(*training_loop_, *training_runner_, samples, step);
}

PassResult RankRuntime::evaluate_pass(std::span<const std::int32_t> samples, std::int64_t step) {
  return pass(*evaluation_loop_, *evaluation_runner_, samples, step);
}

void RankRuntime::exchange_tied_gradients(std::int64_t step) {
  optimizer_->sum_local_uses();
  for (const TiedGroup& tied : tied_) {
    const auto& row = store_->layout().rows()[tied.row];
    const Tensor gradient = store_->gradient(row);
    const auto what = [&] {
      return concat("exchanging gradients of the tied ", row.row.name, " (step ", step, ")");
    };
    tied.group->all_reduce_sum(gradient, what);
    settle(what);
  }
}

}  // namespace seq1f1b::runtime

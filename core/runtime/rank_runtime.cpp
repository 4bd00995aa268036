#include "core/runtime/rank_runtime.h"

#include <algorithm>

#include "core/comm/local_channel.h"
#include "core/plan/inputs.h"
#include "kernels/common/errors.h"
#include "kernels/ops.h"

namespace seq1f1b::runtime {

using kernels::Tensor;
using model::aligned;

RankRuntime::RankRuntime(const plan::JobPlan& job, kernels::Backend& backend, comm::Fabric& fabric,
                         ActionRing* ring, const BeforeActions& before_actions)
    : job_(job),
      backend_(backend),
      fabric_(fabric),
      pipeline_rank_(plan::mesh_of(job).coordinate_of(fabric.world().rank()).pp),
      plan_(plan::plan_rank(job, pipeline_rank_)),
      arena_(*backend.device, plan_.planned_bytes()) {
  std::byte* next = arena_.data();
  const auto take = [&](std::size_t bytes) {
    std::byte* section = next;
    next += bytes;
    return section;
  };
  store_ = std::make_unique<parameters::Store>(
      plan::layout_of(job, pipeline_rank_), backend.compute, backend.accumulate,
      parameters::Purpose::kTraining, take(plan_.parameters.total()));
  std::byte* scalars = take(plan_.scalars);
  optimizer_ = std::make_unique<optimizer::Optimizer>(job.config.optimizer, *store_, plan_.sums,
                                                      backend, scalars);
  loss_sum_ =
      reinterpret_cast<double*>(scalars + aligned(optimizer::Optimizer::scratch_bytes(plan_.sums)));
  loss_scale_ = loss_sum_ + model::kTensorAlignment / sizeof(double);

  needs_ = plan::input_needs(job, pipeline_rank_);
  inputs_ = std::make_unique<StepInputs>(job, needs_, *backend.device, take(plan_.inputs),
                                         loss_sum_, loss_scale_);

  make_ports(take(plan_.channels));
  make_tied_groups();
  fabric.connect();
  if (plan_.scratch > 0) backend.ops->use_scratch(take(plan_.scratch), plan_.scratch);
  activations_ = take(plan_.activations());
  if (before_actions) before_actions(plan_, activation_arena());

  const auto make = [&](Pass& pass, const schedule::Schedule& schedule,
                        const schedule::MemoryPlan& memory) {
    for (const int stage : job.stages_of(pipeline_rank_))
      pass.stages.emplace_back(job.spec, job.layers_of(stage), job.precision, schedule.features,
                               store_.get());
    pass.loop = std::make_unique<StageLoop>(
        schedule, pipeline_rank_, ports_,
        [&job](schedule::Unit unit) { return job.message_bytes(unit); }, fabric, *backend.device,
        ring);
    pass.runner = std::make_unique<ModelRunner>(job, schedule, pipeline_rank_, memory, pass.stages,
                                                backend, *inputs_, activations_);
  };
  make(training_, job.training, plan_.training);
  make(evaluation_, job.evaluation, plan_.evaluation);
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
  const comm::Mesh mesh = plan::mesh_of(job_);
  comm::Mesh::Coordinate at = mesh.coordinate_of(fabric_.world().rank());
  at.pp = pipeline_rank;
  return mesh.rank_of(at);
}

void RankRuntime::make_ports(std::byte* rings) {
  ports_.resize(job_.stages_of(pipeline_rank_).size());
  const auto port_of = [&](int stage, schedule::Flow flow) -> Port& {
    return ports_[static_cast<std::size_t>(schedule::place_of_stage(job_.training, stage).chunk)]
                 [flow];
  };
  for (const plan::EdgeEnd& end : plan::edge_ends(job_, pipeline_rank_)) {
    const schedule::Edge& edge = end.edge;
    std::vector<std::span<std::byte>> buffers;
    for (int i = 0; i < end.buffers; ++i, rings += end.buffer_bytes)
      buffers.emplace_back(rings, end.buffer_bytes);
    comm::LocalChannel ends;
    if (edge.is_local())
      ends = comm::make_local_channel(buffers);
    else if (end.sends)
      ends.sender = fabric_.make_sender(world_rank(edge.to_rank), edge.id(), buffers);
    else
      ends.receiver = fabric_.make_receiver(world_rank(edge.from_rank), edge.id(), buffers);
    if (ends.sender) {
      Port& port = port_of(edge.producing_stage, edge.flow);
      port.to_rank = edge.to_rank;
      for (const auto& buffer : buffers) port.departures.push_back(buffer.data());
      port.sender = senders_.emplace_back(std::move(ends.sender)).get();
    }
    if (ends.receiver) {
      Port& port = port_of(edge.consuming_stage(), edge.flow);
      port.from_rank = edge.from_rank;
      port.arrival = buffers.front().data();
      port.receiver = receivers_.emplace_back(std::move(ends.receiver)).get();
    }
  }
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
  inputs_->upload(std::vector<std::int32_t>(static_cast<std::size_t>(
                      job_.sequences() * (job_.config.training.seq_length + 1))),
                  1);
  for (const Pass* pass : {&training_, &evaluation_}) {
    pass->runner->warm_up(ports_);
    backend_.device->synchronize();  // its own work alone
    watch->next("evaluation");
  }
}

PassResult RankRuntime::run(Pass& pass, std::span<const std::int32_t> samples, std::int64_t step,
                            std::int64_t labels) {
  inputs_->upload(samples, labels);
  pass.loop->run(*pass.runner, step);
  PassResult result;
  result.busy_seconds = pass.loop->busy_seconds();
  result.total_seconds = pass.loop->total_seconds();
  return result;
}

PassResult RankRuntime::train_pass(std::span<const std::int32_t> samples, std::int64_t step,
                                   std::int64_t labels) {
  optimizer_->zero_gradients();
  return run(training_, samples, step, labels);
}

PassResult RankRuntime::evaluate_pass(std::span<const std::int32_t> samples, std::int64_t step) {
  // An evaluation has no gradients, which alone are divided.
  PassResult result = run(evaluation_, samples, step, 1);
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

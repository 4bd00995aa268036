#include "core/train/step.h"

#include <algorithm>
#include <array>

#include "core/train/samples.h"
#include "kernels/common/errors.h"

namespace seq1f1b::train {
namespace {

// What travels with norm and loss (RankPlan::sums). The last is the first of an entry per rank,
// which that rank alone fills: a sum cannot tell the longest time.
enum Other : std::size_t { kLabels, kBusy, kPassSeconds };

// The ranks with the head, one of every replica.
std::vector<int> heads_of(const plan::JobPlan& job) {
  const comm::Mesh mesh = plan::mesh_of(job);
  const int last = schedule::place_of_stage(job.training, job.training.stages() - 1).rank;
  std::vector<int> ranks;
  for (int rank = 0; rank < mesh.size(); ++rank)
    if (mesh.coordinate_of(rank).pp == last) ranks.push_back(rank);
  return ranks;
}

}  // namespace

Step::Step(const plan::JobPlan& job, runtime::RankRuntime& runtime, comm::Fabric& fabric)
    : job_(job), runtime_(runtime), fabric_(fabric), others_(runtime.plan().sums.others) {
  SEQ1F1B_ASSERT(others_.size() == kPassSeconds + static_cast<std::size_t>(fabric.world().size()),
                 "the plan holds ", others_.size(), " sums of a pass");
  all_ = fabric.make_group(comm::everyone(fabric.world()));
  fabric.connect();
  heads_ = fabric.world().make_group(heads_of(job));
}

StepResult Step::run(std::span<const std::int32_t> samples, std::int64_t number,
                     double learning_rate) {
  // All replicas divide by the same number, before the first of them computes a gradient.
  std::array<double, 1> labels{};
  others_[kLabels] = 0;
  if (heads_) {
    others_[kLabels] = labels[0] =
        static_cast<double>(count_labels(samples, job_.config.training.seq_length, nullptr).tokens);
    heads_->all_reduce_sum(labels, [&] { return concat("counting the labels of step ", number); });
  }
  const runtime::PassResult pass =
      runtime_.train_pass(samples, number, static_cast<std::int64_t>(labels[0]));
  runtime_.exchange_tied_gradients(number);
  others_[kBusy] = pass.busy_seconds;
  others_[kPassSeconds + static_cast<std::size_t>(fabric_.world().rank())] = pass.total_seconds;

  optimizer::Optimizer& optimizer = runtime_.optimizer();
  const auto what = [&] { return concat("reducing norm and loss (step ", number, ")"); };
  optimizer.begin_step(number, learning_rate, runtime_.loss_sum(), others_);
  all_->all_reduce_sum(optimizer.sums(), what);
  optimizer.finish_step();
  fabric_.wait_for(optimizer.finished(), what);

  const kernels::AdamWParams& outcome = optimizer.outcome();
  StepResult result;
  result.loss = outcome.loss_sum / optimizer.others()[kLabels];
  result.grad_norm = outcome.gradient_norm;
  result.finite = outcome.apply != 0;
  // All ranks come out of the previous step's reduction, so they begin together, and the longest
  // pass is the makespan: a rank that is done early idles until the last one is.
  const double makespan = std::ranges::max(optimizer.others().subspan(kPassSeconds));
  result.bubble = 1.0 - optimizer.others()[kBusy] / (fabric_.world().size() * makespan);
  return result;
}

}  // namespace seq1f1b::train

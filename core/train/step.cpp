#include "core/train/step.h"

#include <algorithm>

#include "kernels/common/errors.h"

namespace seq1f1b::train {
namespace {

// What travels with norm and loss (RankPlan::sums). The last is the first of an entry per rank,
// which that rank alone fills: a sum cannot tell the longest time.
enum Time : std::size_t { kBusy, kPassSeconds };

}  // namespace

Step::Step(const plan::JobPlan& job, runtime::RankRuntime& runtime, comm::Fabric& fabric)
    : job_(job), runtime_(runtime), fabric_(fabric), times_(runtime.plan().sums.others) {
  SEQ1F1B_ASSERT(times_.size() == kPassSeconds + static_cast<std::size_t>(fabric.world().size()),
                 "the plan holds ", times_.size(), " times of a pass");
  all_ = fabric.make_group(comm::everyone(fabric.world()));
  fabric.connect();
}

StepResult Step::run(std::span<const std::int32_t> samples, std::int64_t number,
                     double learning_rate) {
  const runtime::PassResult pass = runtime_.train_pass(samples, number);
  runtime_.exchange_tied_gradients(number);
  times_[kBusy] = pass.busy_seconds;
  times_[kPassSeconds + static_cast<std::size_t>(fabric_.world().rank())] = pass.total_seconds;

  optimizer::Optimizer& optimizer = runtime_.optimizer();
  const auto what = [&] { return concat("reducing norm and loss (step ", number, ")"); };
  optimizer.begin_step(number, learning_rate, runtime_.loss_sum(), times_);
  all_->all_reduce_sum(optimizer.sums(), what);
  optimizer.finish_step();
  fabric_.wait_for(optimizer.finished(), what);

  const kernels::AdamWParams& outcome = optimizer.outcome();
  StepResult result;
  result.loss = outcome.loss_sum / static_cast<double>(job_.derived.tokens_per_step);
  result.grad_norm = outcome.gradient_norm;
  result.finite = outcome.apply != 0;
  // All ranks come out of the previous step's reduction, so they begin together, and the longest
  // pass is the makespan: a rank that is done early idles until the last one is.
  const double makespan = std::ranges::max(optimizer.others().subspan(kPassSeconds));
  result.bubble = 1.0 - optimizer.others()[kBusy] / (fabric_.world().size() * makespan);
  return result;
}

}  // namespace seq1f1b::train

#include "core/train/step.h"

#include <algorithm>
#include <cmath>

#include "kernels/common/errors.h"

namespace seq1f1b::train {
namespace {

// Behind the squares of every tensor of the table, the reduction of a step carries these. The last
// is the first of an entry per rank, which that rank alone fills: a sum cannot tell the longest
// time.
enum Sum : std::size_t { kLoss, kBusy, kPassSeconds };

}  // namespace

Step::Step(const runtime::JobPlan& job, runtime::RankRuntime& runtime, comm::Group& all)
    : job_(job),
      runtime_(runtime),
      all_(all),
      sums_(job.table.size() + kPassSeconds + static_cast<std::size_t>(all.size())) {}

StepResult Step::run(std::span<const std::int32_t> samples, std::int64_t number,
                     double learning_rate) {
  const runtime::PassResult pass = runtime_.train_pass(samples, number);
  runtime_.exchange_tied_gradients(number);
  std::fill(sums_.begin(), sums_.end(), 0.0);
  const std::span squares = std::span(sums_).first(job_.table.size());
  const std::span rest = std::span(sums_).subspan(job_.table.size());
  runtime_.optimizer().squares(squares);
  rest[kLoss] = pass.loss_sum;
  rest[kBusy] = pass.busy_seconds;
  const std::span pass_seconds = rest.subspan(kPassSeconds);
  pass_seconds[static_cast<std::size_t>(all_.rank())] = pass.total_seconds;
  all_.all_reduce_sum(sums_, [&] { return concat("reducing norm and loss (step ", number, ")"); });

  StepResult result;
  result.loss = rest[kLoss] / static_cast<double>(job_.derived.tokens_per_step);
  result.grad_norm = optimizer::Optimizer::global_norm(squares);
  // All ranks come out of the previous step's reduction, so they begin together, and the longest
  // pass is the makespan: a rank that is done early idles until the last one is.
  const double makespan = *std::ranges::max_element(pass_seconds);
  result.bubble = 1.0 - rest[kBusy] / (all_.size() * makespan);
  result.finite = std::isfinite(result.loss) && std::isfinite(result.grad_norm);
  if (result.finite) runtime_.optimizer().update(number, learning_rate, result.grad_norm);
  return result;
}

}  // namespace seq1f1b::train

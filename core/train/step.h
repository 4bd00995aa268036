#pragma once
// One optimizer step over all ranks: pass, tied gradients, norm, update.
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "core/comm/fabric.h"
#include "core/runtime/rank_runtime.h"

namespace seq1f1b::train {

struct StepResult {
  double loss = 0;       // mean over the tokens of the global batch, nats
  double grad_norm = 0;  // before clipping
  double bubble = 0;     // measured: 1 - busy / (ranks * makespan of the pass)
  bool finite = true;    // false: nothing was updated
};

class Step {
 public:
  // Collective over the world.
  Step(const plan::JobPlan& job, runtime::RankRuntime& runtime, comm::Fabric& fabric);

  // samples as RankRuntime::train_pass takes them; `number` from 1. The result is the same on all
  // ranks. Collective; the device is done with the step on return.
  StepResult run(std::span<const std::int32_t> samples, std::int64_t number, double learning_rate);

 private:
  const plan::JobPlan& job_;
  runtime::RankRuntime& runtime_;
  comm::Fabric& fabric_;
  std::unique_ptr<comm::TensorGroup> all_;
  std::unique_ptr<comm::Group> heads_;  // of all replicas; null where the head is not
  std::vector<double> others_;          // of this rank, for the reduction
};

}  // namespace seq1f1b::train

#pragma once
// Runs the actions of one schedule on the stages of a rank, each with the storage that the plan
// gave it. What an action issues depends on its record alone (schedule/memory_plan.h), so that a
// device may record it once and replay it: messages, tokens and labels are copied to where the
// record expects them before.
#include <span>
#include <vector>

#include "core/model/stage.h"
#include "core/runtime/job_plan.h"
#include "core/runtime/stage_loop.h"
#include "core/runtime/step_inputs.h"
#include "kernels/device.h"

namespace seq1f1b::runtime {

class ModelRunner final : public ActionRunner {
 public:
  // All arguments outlive the runner. `stages` by chunk; `activations`: the arena of the plan.
  ModelRunner(const JobPlan& job, const schedule::Schedule& schedule, int pipeline_rank,
              const schedule::MemoryPlan& memory, model::Mode mode,
              std::span<const model::Stage> stages, kernels::Backend& backend, StepInputs& inputs,
              std::byte* activations);

  void take(const schedule::Action& action, std::size_t index, const std::byte* received) override;
  void run(const schedule::Action& action, std::size_t index, std::byte* output) override;

 private:
  void issue(const schedule::Action& action, std::size_t index, std::byte* output);
  std::uint64_t key_of(std::size_t index, const std::byte* output);
  void expect_segment(const schedule::Action& action);
  const model::Extent& extent_of(const schedule::Action& action) const {
    return extents_[static_cast<std::size_t>(action.unit.segment)];
  }

  const schedule::MemoryPlan& memory_;
  model::Mode mode_;
  std::span<const model::Stage> stages_;
  kernels::Backend& backend_;
  StepInputs& inputs_;
  int segments_;
  std::vector<model::Extent> extents_;        // by segment
  std::vector<model::StageStorage> storage_;  // by action
  std::vector<schedule::Unit> next_;          // [chunk][forward, backward]
  std::vector<const std::byte*> outputs_;     // send buffers seen
};

}  // namespace seq1f1b::runtime

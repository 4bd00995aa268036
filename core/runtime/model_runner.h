#pragma once
// Runs the actions of one schedule on the stages of a rank, each with the storage that the plan
// gave it. What an action issues depends on its graph number alone (schedule/memory_plan.h), so
// that a device may capture it once and replay it: messages, tokens and labels are copied
// beforehand to where the captured graph reads them.
#include <span>
#include <vector>

#include "core/model/stage.h"
#include "core/plan/job_plan.h"
#include "core/runtime/ports.h"
#include "core/runtime/stage_loop.h"
#include "core/runtime/step_inputs.h"
#include "kernels/device.h"

namespace seq1f1b::runtime {

class ModelRunner final : public ActionRunner {
 public:
  // All arguments outlive the runner. `stages` by chunk; `activations`: the arena of the plan.
  ModelRunner(const plan::JobPlan& job, const schedule::Schedule& schedule, int pipeline_rank,
              const schedule::MemoryPlan& memory, std::span<const model::Stage> stages,
              kernels::Backend& backend, StepInputs& inputs, std::byte* activations);

  void take(const schedule::Action& action, std::size_t index, const std::byte* received) override;
  void run(const schedule::Action& action, std::size_t index, std::byte* output) override;

  // Runs one action of every graph once, on whatever its storage and messages hold, so that kernels
  // are loaded, algorithms chosen and graphs captured before anything depends on another rank: a
  // kernel may not load while another one waits on the device for a message (CUDA C++ Programming
  // Guide, "Lazy Loading", on concurrent execution), and memory for it may be short later. `ports`
  // by chunk. Writes activations, gradients and the loss; tokens and labels must be legal.
  void warm_up(std::span<const ChunkPorts> ports);

 private:
  void issue(const schedule::Action& action, std::size_t index, std::byte* output);
  std::uint64_t key_of(std::size_t index, const std::byte* output);
  void expect_segment(const schedule::Action& action);

  const plan::JobPlan& job_;
  const schedule::Schedule& schedule_;
  const schedule::MemoryPlan& memory_;
  const schedule::Order& order_;
  std::span<const model::Stage> stages_;
  kernels::Backend& backend_;
  StepInputs& inputs_;
  std::vector<model::StageStorage> storage_;  // by action
  std::vector<schedule::Unit> next_;          // [chunk][kind], of kinds in the order of segments
  std::vector<const std::byte*> departures_;  // send buffers seen
};

}  // namespace seq1f1b::runtime

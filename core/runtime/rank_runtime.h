#pragma once
// One rank of a job, ready to run steps: the arena of the plan, parameters, stages, channels and a
// loop per schedule. Allocates everything here and nothing later, on the device and behind it: on a
// device with a queue every action that differs is done once beforehand.
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/comm/fabric.h"
#include "core/comm/mesh.h"
#include "core/optimizer/optimizer.h"
#include "core/plan/rank_plan.h"
#include "core/runtime/action_ring.h"
#include "core/runtime/model_runner.h"
#include "core/runtime/ports.h"
#include "core/runtime/stage_loop.h"
#include "core/runtime/step_inputs.h"
#include "kernels/device.h"

namespace seq1f1b::runtime {

// Of one pass over the samples of a step.
struct PassResult {
  double loss_sum = 0;       // of an evaluation: nats; 0 where the head is not
  double busy_seconds = 0;   // inside actions
  double total_seconds = 0;  // from the first wait to the end of the last action
};

class RankRuntime {
 public:
  // Gets memory that nothing uses yet, the activations'. The operations have their scratch, and no
  // action has been prepared, run or captured.
  using BeforeActions = std::function<void(const plan::RankPlan& plan, std::span<std::byte> idle)>;
  // `job`, `backend`, `fabric` and `ring` outlive the runtime; null: no ring. Collective over the
  // world.
  RankRuntime(const plan::JobPlan& job, kernels::Backend& backend, comm::Fabric& fabric,
              ActionRing* ring = nullptr, const BeforeActions& before_actions = {});
  ~RankRuntime();

  const plan::RankPlan& plan() const { return plan_; }
  int pipeline_rank() const { return pipeline_rank_; }
  const parameters::Store& store() const { return *store_; }
  optimizer::Optimizer& optimizer() { return *optimizer_; }
  // Whether this rank reads tokens (embedding) or labels (head); others may pass no samples.
  bool needs_samples() const { return needs_.any(); }
  bool has_head() const { return needs_.labels; }
  // Of the last pass, nats, in device memory; null where the head is not.
  const double* loss_sum() const { return has_head() ? loss_sum_ : nullptr; }

  // Forward and backward of one step. samples: int32 [JobPlan::sequences][seq_length + 1] of this
  // replica, in order; -1 is padding that the loss ignores.
  // Gradients are zeroed first and complete on this rank afterwards; tied tensors are not exchanged
  // yet. Collective over the pipeline.
  // `labels`: of the global batch, over all replicas; the loss of the step is a mean over them, and
  // so are its gradients. Read where the head is.
  PassResult train_pass(std::span<const std::int32_t> samples, std::int64_t step,
                        std::int64_t labels);
  // Forward only, adding up the loss. Collective over the pipeline.
  PassResult evaluate_pass(std::span<const std::int32_t> samples, std::int64_t step);
  // Tied tensors: sums over their uses on this rank and, between two ranks, over both. Collective
  // over the ranks that share them.
  void exchange_tied_gradients(std::int64_t step);

  // Its times are those of the last train_pass.
  const StageLoop& training_loop() const { return *training_.loop; }
  // The arena, for tests that scan what was touched.
  std::span<std::byte> arena() const { return {arena_.data(), arena_.bytes()}; }
  std::span<std::byte> activation_arena() const;

 private:
  struct Pass {
    std::vector<model::Stage> stages;  // by chunk
    std::unique_ptr<StageLoop> loop;
    std::unique_ptr<ModelRunner> runner;
  };
  int world_rank(int pipeline_rank) const;  // of the ranks that share this one's other coordinates
  void make_ports(std::byte* rings);
  void make_tied_groups();
  void warm_up();
  PassResult run(Pass& pass, std::span<const std::int32_t> samples, std::int64_t step,
                 std::int64_t labels);

  const plan::JobPlan& job_;
  kernels::Backend& backend_;
  comm::Fabric& fabric_;
  int pipeline_rank_;
  plan::RankPlan plan_;
  plan::InputNeeds needs_;
  kernels::DeviceBuffer arena_;
  // Captured graphs hold addresses of the arena, also those of a constructor that failed.
  struct ForgetsGraphs {
    kernels::Device& device;
    ~ForgetsGraphs() { device.forget_graphs(); }
  } forgets_graphs_{*backend_.device};
  std::byte* activations_ = nullptr;
  std::unique_ptr<parameters::Store> store_;
  std::unique_ptr<optimizer::Optimizer> optimizer_;
  double *loss_sum_ = nullptr, *loss_scale_ = nullptr;
  std::unique_ptr<StepInputs> inputs_;
  std::vector<std::unique_ptr<comm::Sender>> senders_;
  std::vector<std::unique_ptr<comm::Receiver>> receivers_;
  std::vector<ChunkPorts> ports_;  // by chunk
  struct TiedGroup {
    std::unique_ptr<comm::TensorGroup> group;
    std::size_t row;  // in the layout
  };
  std::vector<TiedGroup> tied_;
  Pass training_, evaluation_;
};

}  // namespace seq1f1b::runtime

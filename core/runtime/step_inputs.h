#pragma once
// Tokens and labels of a step in device memory, and the places from which actions read those of
// their unit. The places are the same for all units, so that an action that a device replays
// (kernels/device.h) finds other contents at the same address.
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/model/stage.h"
#include "core/plan/inputs.h"
#include "kernels/device.h"

namespace seq1f1b::runtime {

class StepInputs {
 public:
  // `memory`: of plan::input_bytes. loss_sum, loss_scale: in device memory, used with labels.
  StepInputs(const plan::JobPlan& job, const plan::InputNeeds& needs, kernels::Device& device,
             std::byte* memory, double* loss_sum, double* loss_scale);

  // samples: int32 [JobPlan::sequences][seq_length + 1], -1 is padding. Sets the loss to zero and
  // its scale to 1 / labels, those of the global batch (0: to 0).
  void upload(std::span<const std::int32_t> samples, std::int64_t labels);
  // Makes the unit's tokens and labels those that of() gives, in queue order.
  void select(schedule::Unit unit);
  model::StageInput of(const model::SegmentShape& shape) const;

 private:
  void arrange(std::span<const std::int32_t> samples, std::int64_t shift, std::int32_t* target);

  const plan::JobPlan& job_;
  plan::InputNeeds needs_;
  kernels::Device& device_;
  double *loss_sum_, *loss_scale_;
  // Of the step, [micro_batch][segment][mb, tokens]; of one unit.
  std::int32_t *tokens_ = nullptr, *labels_ = nullptr;
  std::int32_t *unit_tokens_ = nullptr, *unit_labels_ = nullptr;
  std::vector<std::int32_t> staging_;  // host, of one upload
};

}  // namespace seq1f1b::runtime

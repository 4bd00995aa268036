#pragma once
// Tokens and labels of a step in device memory, and the places from which actions read those of
// their unit. The places are the same for all units, so that an action that a device replays
// (kernels/device.h) finds other contents at the same address.
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "core/model/stage.h"
#include "core/runtime/job_plan.h"
#include "kernels/device.h"

namespace seq1f1b::runtime {

// What the stages of a rank read.
struct InputNeeds {
  bool tokens = false;  // the embedding
  bool labels = false;  // the head
  bool any() const { return tokens || labels; }
};
InputNeeds input_needs(const JobPlan& job, int pipeline_rank);

class StepInputs {
 public:
  // Device bytes; multiples of the tensor alignment.
  static std::size_t bytes(const JobPlan& job, const InputNeeds& needs);
  // `memory`: of that size. loss_sum, loss_scale: double in device memory, used with labels.
  StepInputs(const JobPlan& job, const InputNeeds& needs, kernels::Device& device,
             std::byte* memory, double* loss_sum, double* loss_scale);

  // samples: int32 [JobPlan::sequences][seq_length + 1], -1 is padding. Sets the loss to zero and
  // its scale to 1 / (number of labels).
  void upload(std::span<const std::int32_t> samples);
  // Makes the unit's tokens and labels those that of() gives, in queue order.
  void select(schedule::Unit unit);
  model::StageInput of(const model::SegmentShape& shape) const;

 private:
  void arrange(std::span<const std::int32_t> samples, std::int64_t shift, std::int32_t* target);

  const JobPlan& job_;
  InputNeeds needs_;
  kernels::Device& device_;
  double *loss_sum_, *loss_scale_;
  // Of the step, [micro_batch][segment][mb, tokens]; of one unit.
  std::int32_t *tokens_ = nullptr, *labels_ = nullptr;
  std::int32_t *unit_tokens_ = nullptr, *unit_labels_ = nullptr;
  std::vector<model::SegmentShape> shapes_;  // by segment
  std::vector<std::int32_t> staging_;        // host, of one upload
};

}  // namespace seq1f1b::runtime

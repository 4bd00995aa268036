#include "core/runtime/step_inputs.h"

#include <algorithm>

#include "kernels/common/errors.h"

namespace seq1f1b::runtime {
namespace {

using kernels::Dtype;
using kernels::Tensor;

std::size_t step_tokens(const plan::JobPlan& job) {
  return static_cast<std::size_t>(job.sequences() * job.config.training.seq_length);
}

}  // namespace

StepInputs::StepInputs(const plan::JobPlan& job, const plan::InputNeeds& needs,
                       kernels::Device& device, std::byte* memory, double* loss_sum,
                       double* loss_scale)
    : job_(job), needs_(needs), device_(device), loss_sum_(loss_sum), loss_scale_(loss_scale) {
  const plan::InputBytes bytes = plan::input_bytes(job);
  const auto take = [&](std::size_t size) {
    auto* piece = reinterpret_cast<std::int32_t*>(memory);
    memory += size;
    return piece;
  };
  if (needs.tokens) {
    tokens_ = take(bytes.step);
    unit_tokens_ = take(bytes.unit);
  }
  if (needs.labels) {
    labels_ = take(bytes.step);
    unit_labels_ = take(bytes.unit);
  }
  if (needs.any()) staging_.resize(step_tokens(job));
}

// Units lie one behind the other, [batch, tokens] each, so that every unit is contiguous.
void StepInputs::arrange(std::span<const std::int32_t> samples, std::int64_t shift,
                         std::int32_t* device) {
  const std::int64_t window = job_.config.training.seq_length + 1;
  const schedule::Spec& spec = job_.training.spec;
  for (int micro_batch = 0; micro_batch < spec.micro_batches; ++micro_batch)
    for (int segment = 0; segment < spec.segments; ++segment) {
      const schedule::Unit unit{micro_batch, segment};
      const model::SegmentShape& shape = job_.units.shape(unit);
      std::int32_t* target = staging_.data() + job_.units.first_row(unit);
      for (std::int64_t i = 0; i < shape.batch_size; ++i) {
        const std::int32_t* source =
            samples.data() + (micro_batch * shape.batch_size + i) * window + shape.start + shift;
        // Padding (-1) is no label; as a token that is read it stands for any.
        target = std::transform(source, source + shape.tokens, target, [&](std::int32_t token) {
          return shift == 0 ? std::max(token, 0) : token;
        });
      }
    }
  device_.upload(device, staging_.data(), staging_.size() * sizeof(std::int32_t));
}

void StepInputs::upload(std::span<const std::int32_t> samples, std::int64_t labels) {
  if (!needs_.any()) return;
  SEQ1F1B_ASSERT(static_cast<std::int64_t>(samples.size()) ==
                     job_.sequences() * (job_.config.training.seq_length + 1),
                 "samples of a step: ", samples.size(), " tokens");
  if (needs_.labels) {
    // Labels are shifted over the whole sequence before it is cut: the last token of a segment
    // predicts the first of the next.
    arrange(samples, 1, labels_);
    const double scale = labels > 0 ? 1.0 / static_cast<double>(labels) : 0.0;
    const double zero = 0.0;
    device_.upload(loss_scale_, &scale, sizeof scale);
    device_.upload(loss_sum_, &zero, sizeof zero);
  }
  if (needs_.tokens) arrange(samples, 0, tokens_);
}

void StepInputs::select(schedule::Unit unit) {
  const std::int64_t offset = job_.units.first_row(unit);
  const auto bytes = static_cast<std::size_t>(job_.units.shape(unit).rows()) * sizeof(std::int32_t);
  if (needs_.tokens) device_.copy(unit_tokens_, tokens_ + offset, bytes);
  if (needs_.labels) device_.copy(unit_labels_, labels_ + offset, bytes);
}

model::StageInput StepInputs::of(const model::SegmentShape& shape) const {
  model::StageInput input;
  if (needs_.tokens)
    input.tokens = Tensor(unit_tokens_, Dtype::kI32, {shape.batch_size, shape.tokens});
  if (needs_.labels) {
    input.loss.labels = Tensor(unit_labels_, Dtype::kI32, {shape.rows()});
    input.loss.loss_scale = loss_scale_;
    input.loss.loss_sum = loss_sum_;
  }
  return input;
}

}  // namespace seq1f1b::runtime

#include "core/optimizer/optimizer.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/common/errors.h"

namespace seq1f1b::optimizer {
namespace {

// The constants lie behind the sums and are copied together with them.
static_assert(sizeof(kernels::AdamWParams) % sizeof(double) == 0);
constexpr std::size_t kStepDoubles = sizeof(kernels::AdamWParams) / sizeof(double);

}  // namespace

std::size_t Optimizer::scratch_bytes(const StepSums& sums) {
  return (sums.size() + kStepDoubles) * sizeof(double);
}

Optimizer::Optimizer(const config::OptimizerConfig& config, const parameters::Store& store,
                     const StepSums& sums, kernels::Backend& backend, std::byte* scratch,
                     const parameters::Replica& replica)
    : config_(config),
      store_(store),
      backend_(backend),
      layout_(sums),
      device_sums_(reinterpret_cast<double*>(scratch)),
      device_step_(reinterpret_cast<kernels::AdamWParams*>(device_sums_ + sums.size())),
      image_(sums.size() + kStepDoubles),
      host_(*backend.device, read_back_bytes()),
      finished_(backend.device->make_event()),
      updated_(store.layout().pieces(store.updated())),
      counted_(store.layout().counts_in_norm(replica)) {
  for (const auto& piece : updated_) {
    kernels::AdamwTensor tensor;
    tensor.weight = store.weight(piece);
    tensor.master = store.master(piece);
    tensor.gradient = store.gradient(piece);
    tensor.first_moment = store.first_moment(piece);
    tensor.second_moment = store.second_moment(piece);
    tensor.weight_decay = store.layout().rows()[piece.row].info.decay ? config.weight_decay : 0.0;
    tensors_.push_back(tensor);
  }
}

std::size_t Optimizer::read_back_bytes() const {
  return (1 + layout_.others + kStepDoubles) * sizeof(double);
}

void Optimizer::zero_gradients() { backend_.ops->fill(store_.all_gradients(), 0.0); }

void Optimizer::sum_local_uses() {
  for (const auto& row : store_.layout().rows())
    for (std::size_t use = 1; use < row.uses.size(); ++use)
      backend_.ops->accumulate(store_.gradient(row, use), store_.gradient(row));
}

kernels::Tensor Optimizer::sums() const {
  return {device_sums_, kernels::Dtype::kF64, {static_cast<std::int64_t>(layout_.size())}};
}

void Optimizer::begin_step(std::int64_t number, double learning_rate, const double* loss_sum,
                           std::span<const double> others) {
  SEQ1F1B_ASSERT(others.size() == layout_.others, "other sums of a step: ", others.size());
  kernels::AdamWParams constants;
  constants.learning_rate = learning_rate;
  constants.beta1 = config_.adam_beta1;
  constants.beta2 = config_.adam_beta2;
  constants.epsilon = config_.adam_eps;
  constants.bias_correction1 = 1.0 - std::pow(config_.adam_beta1, static_cast<double>(number));
  constants.bias_correction2 = 1.0 - std::pow(config_.adam_beta2, static_cast<double>(number));
  std::ranges::copy(others,
                    image_.begin() + static_cast<std::ptrdiff_t>(layout_.size() - layout_.others));
  std::memcpy(image_.data() + layout_.size(), &constants, sizeof constants);
  backend_.device->upload(device_sums_, image_.data(), image_.size() * sizeof(double));

  const auto rows = store_.layout().rows();
  for (const auto& piece : counted_)
    backend_.ops->sum_of_squares(store_.gradient(piece),
                                 device_sums_ + rows[piece.row].table_index);
  if (loss_sum) backend_.device->copy(device_sums_ + layout_.tensors, loss_sum, sizeof(double));
}

void Optimizer::finish_step() {
  const auto tensors = static_cast<std::int64_t>(layout_.tensors);
  double* loss = device_sums_ + layout_.tensors;
  backend_.ops->finalize_grad_norm({device_sums_, kernels::Dtype::kF64, {tensors}}, loss,
                                   config_.clip_grad, device_step_);
  backend_.ops->adamw(tensors_, device_step_);
  backend_.device->download_later(host_.data(), loss, read_back_bytes());
  backend_.device->record(*finished_);
}

const kernels::AdamWParams& Optimizer::outcome() const {
  return *reinterpret_cast<const kernels::AdamWParams*>(host() + 1 + layout_.others);
}

std::string Optimizer::first_not_finite() {
  using View = kernels::Tensor (parameters::Store::*)(const parameters::Piece&) const;
  struct Part {
    const char* suffix;
    View view;
  };
  constexpr Part kParts[] = {{"", &parameters::Store::parameter},
                             {".exp_avg", &parameters::Store::first_moment},
                             {".exp_avg_sq", &parameters::Store::second_moment}};
  std::vector<double> squares(layout_.tensors);
  for (const Part& part : kParts) {
    const auto rows = store_.layout().rows();
    for (const auto& piece : updated_)
      backend_.ops->sum_of_squares((store_.*part.view)(piece),
                                   device_sums_ + rows[piece.row].table_index);
    backend_.device->download(squares.data(), device_sums_, squares.size() * sizeof(double));
    for (const auto& piece : updated_) {
      const auto& row = rows[piece.row];
      if (!std::isfinite(squares[row.table_index])) return row.info.name + part.suffix;
    }
  }
  return "";
}

std::span<const double> Optimizer::others() const { return {host() + 1, layout_.others}; }

}  // namespace seq1f1b::optimizer

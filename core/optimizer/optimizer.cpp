#include "core/optimizer/optimizer.h"

#include <algorithm>
#include <cmath>

namespace seq1f1b::optimizer {
namespace {

std::size_t squares_bytes(const parameters::Layout& layout) {
  return (layout.rows().size() * sizeof(double) + 255) / 256 * 256;
}

}  // namespace

std::size_t Optimizer::scratch_bytes(const parameters::Layout& layout) {
  return squares_bytes(layout) + sizeof(kernels::AdamwStep);
}

Optimizer::Optimizer(const config::OptimizerConfig& config, const parameters::Store& store,
                     kernels::Backend& backend, std::byte* scratch)
    : config_(config),
      store_(store),
      backend_(backend),
      device_squares_(reinterpret_cast<double*>(scratch)),
      device_step_(reinterpret_cast<kernels::AdamwStep*>(scratch + squares_bytes(store.layout()))),
      host_squares_(store.layout().rows().size()) {
  for (const auto& row : store.layout().rows()) {
    kernels::AdamwTensor tensor;
    tensor.weight = store.weight(row);
    tensor.master = store.master(row);
    tensor.gradient = store.gradient(row);
    tensor.first_moment = store.first_moment(row);
    tensor.second_moment = store.second_moment(row);
    tensor.weight_decay = row.row.decay ? config.weight_decay : 0.0;
    tensors_.push_back(tensor);
  }
}

void Optimizer::zero_gradients() { backend_.ops->fill(store_.all_gradients(), 0.0); }

void Optimizer::sum_local_uses() {
  for (const auto& row : store_.layout().rows())
    for (std::size_t use = 1; use < row.uses.size(); ++use)
      backend_.ops->accumulate(store_.gradient(row, use), store_.gradient(row));
}

void Optimizer::squares(std::span<double> squares) {
  const auto rows = store_.layout().rows();
  for (std::size_t i = 0; i < rows.size(); ++i)
    if (rows[i].owner) backend_.ops->sum_of_squares(store_.gradient(rows[i]), device_squares_ + i);
  backend_.device->download(host_squares_.data(), device_squares_,
                            host_squares_.size() * sizeof(double));
  for (std::size_t i = 0; i < rows.size(); ++i)
    if (rows[i].owner) squares[rows[i].table_index] = host_squares_[i];
}

double Optimizer::global_norm(std::span<const double> squares) {
  double sum = 0;
  for (double square : squares) sum += square;
  return std::sqrt(sum);
}

void Optimizer::update(std::int64_t step, double learning_rate, double global_norm) {
  kernels::AdamwStep constants;
  constants.learning_rate = learning_rate;
  constants.beta1 = config_.adam_beta1;
  constants.beta2 = config_.adam_beta2;
  constants.epsilon = config_.adam_eps;
  constants.bias_correction1 = 1.0 - std::pow(config_.adam_beta1, static_cast<double>(step));
  constants.bias_correction2 = 1.0 - std::pow(config_.adam_beta2, static_cast<double>(step));
  constants.gradient_scale = config_.clip_grad > 0 && global_norm > config_.clip_grad
                                 ? config_.clip_grad / global_norm
                                 : 1.0;
  backend_.device->upload(device_step_, &constants, sizeof constants);
  backend_.ops->adamw(tensors_, device_step_);
}

}  // namespace seq1f1b::optimizer

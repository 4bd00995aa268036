#pragma once
// Final norm, output projection and loss. Works through a unit in chunks of rows, so that no more
// than one chunk of logits ever exists; in training everything happens in the backward action.
#include "core/model/arena_layout.h"
#include "core/model/spec.h"
#include "core/parameters/store.h"
#include "kernels/ops.h"

namespace seq1f1b::model {

// What a step gives the head: in device memory.
struct LossInput {
  kernels::Tensor labels;              // int32 [T]; negative: not counted
  const double* loss_scale = nullptr;  // 1 / tokens of the global batch
  double* loss_sum = nullptr;          // accumulated: sum of losses in nats
};

class Head {
 public:
  // Without a store the head can only say what it needs.
  Head(const ModelSpec& spec, Precision precision, const parameters::Store* store);

  std::size_t backward_workspace_bytes(std::int64_t rows) const;
  std::size_t evaluate_workspace_bytes(std::int64_t rows) const;

  // hidden [T, hidden] of the last block -> grad_hidden [T, hidden]; adds the loss and all
  // gradients of final norm and output projection.
  void backward(kernels::Ops& ops, const kernels::Tensor& hidden, const LossInput& loss,
                const kernels::Tensor& grad_hidden, std::byte* workspace) const;
  // Adds the loss only.
  void evaluate(kernels::Ops& ops, const kernels::Tensor& hidden, const LossInput& loss,
                std::byte* workspace) const;
  // logits [rows, vocab] of few rows, for sampling; workspace as for evaluate.
  void logits(kernels::Ops& ops, const kernels::Tensor& hidden, const kernels::Tensor& logits,
              std::byte* workspace) const;

 private:
  struct Scratch {
    kernels::Tensor normed, statistics, logits, grad_normed;
  };
  Scratch lay_out(ArenaLayout& arena, std::int64_t rows, bool with_gradient) const;

  ModelSpec spec_;
  Precision precision_;
  kernels::Tensor norm_weight_, norm_bias_, weight_;
  kernels::Tensor grad_norm_weight_, grad_norm_bias_, grad_weight_;
};

}  // namespace seq1f1b::model

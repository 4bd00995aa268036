#pragma once
// Ops::finalize_grad_norm of back ends that compute on the host.
#include "kernels/ops.h"

namespace seq1f1b::kernels {

void finalize_grad_norm_on_host(const Tensor& squares, double loss_sum, double clip_norm,
                                AdamWParams& step);

}  // namespace seq1f1b::kernels

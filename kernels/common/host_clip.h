#pragma once
// Ops::clip of back ends that compute on the host.
#include "kernels/ops.h"

namespace seq1f1b::kernels {

void host_clip(const Tensor& squares, double loss_sum, double clip_norm, AdamwStep& step);

}  // namespace seq1f1b::kernels

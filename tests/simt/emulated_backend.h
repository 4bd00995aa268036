#pragma once
// The CUDA back end on the emulated device: its own host sources and kernels, with plain loops for
// the library of matrix products (gemm.cpp).
#include "kernels/device.h"

namespace seq1f1b::simt {

struct EmulatedOptions {
  kernels::Dtype compute = kernels::Dtype::kF32;
  int architecture = 80;
  bool deterministic = true;
  bool graphs = true;
};
// Sets SEQ1F1B_SIMT_ARCH, so that the device's limits are those of the architecture.
kernels::Backend make_emulated_backend(const EmulatedOptions& options);

}  // namespace seq1f1b::simt

#pragma once
// The CUDA back end on the emulated device: its own host sources and kernels, with plain loops for
// the library of matrix products (gemm.cpp).
#include <cstddef>

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

// What all ranks on the emulated device have allocated, as its runtime counts.
struct EmulatedMemory {
  std::size_t allocated = 0, peak = 0;  // device bytes; the most at once since reset_peak
  long allocations = 0;                 // of device and pinned memory, so far
};
EmulatedMemory emulated_memory();
void reset_emulated_peak();

}  // namespace seq1f1b::simt

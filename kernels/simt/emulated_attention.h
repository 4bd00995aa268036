#pragma once
// A library of attention for the emulated device: the reference back end's loops, as host functions
// in the order of the queue. Much faster than emulated kernels, unless it is told to wait.
#include <memory>

#include "kernels/cuda/attention/attention_library.h"
#include "kernels/simt/emulated_backend.h"

namespace seq1f1b::simt {

std::unique_ptr<kernels::cuda::AttentionLibrary> make_emulated_attention(
    const EmulatedAttentionOptions& options);

}  // namespace seq1f1b::simt

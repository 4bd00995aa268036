#pragma once
// Attention by cuDNN's fused kernels, as graphs of NVIDIA's frontend headers: one graph per
// direction and shape, built once. Needs bf16, heads of a multiple of 8, no documents, and for
// every segment all keys up to its own end (bottom-right causal). libcudnn is loaded when the first
// object is made.
//
// Gradients of key and value come out of the library in bf16, into scratch, and are then added to
// the fp32 accumulators: each segment's contribution is rounded once. The workspace grows in
// prepare() alone where every shape is announced to it; its size is the library's secret until
// then, so it is no part of the memory plan. Deterministic backwards need workspace of micro_batch
// * heads * tokens * keys * 2 bytes on compute capability 9.0.
#include <memory>

#include "kernels/cuda/attention/attention_library.h"

namespace seq1f1b::kernels::cuda {

// Throws ConfigError where cuDNN does not load or does not start. Later, shapes that cuDNN does not
// support throw ConfigError with its reason.
std::unique_ptr<AttentionLibrary> make_cudnn_attention(const Context& context);

// "9.19.0"; empty where it does not load.
std::string cudnn_version();

}  // namespace seq1f1b::kernels::cuda

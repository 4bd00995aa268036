#pragma once
#include <memory>

#include "kernels/cpu/isa.h"
#include "kernels/ops.h"

namespace seq1f1b::kernels::cpu {

// The fp32 operations on `threads` >= 1 threads of the calling process, every argument checked.
// `isa` must be available; no instruction beyond it is used, by the libraries of products.h neither.
std::unique_ptr<Ops> make_cpu_ops(int threads, Isa isa);

}  // namespace seq1f1b::kernels::cpu

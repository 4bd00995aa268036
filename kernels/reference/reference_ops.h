#pragma once
#include <memory>

#include "kernels/ops.h"

namespace seq1f1b::kernels::reference {

// The reference operations that compute in kF64, kF32 or kBf16 and accumulate in kF64, kF32 or
// kF32, every argument checked. Throws InternalError for another dtype.
std::unique_ptr<Ops> make_reference_ops(Dtype compute);

}  // namespace seq1f1b::kernels::reference

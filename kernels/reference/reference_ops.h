#pragma once
#include <memory>

#include "kernels/ops.h"

namespace seq1f1b::kernels::reference {

// The reference operations in kF32 or kF64, every argument checked. Throws InternalError for
// another dtype.
std::unique_ptr<Ops> make_reference_ops(Dtype dtype);

}  // namespace seq1f1b::kernels::reference

#include "kernels/device.h"
#include "kernels/ops.h"

namespace seq1f1b::kernels {

// Out of line because Ops is complete only here.
Backend::Backend() : compute(Dtype::kF32), accumulate(Dtype::kF32) {}
Backend::Backend(Backend&&) noexcept = default;
Backend::~Backend() = default;

}  // namespace seq1f1b::kernels

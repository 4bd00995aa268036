#pragma once
// What the operations of every back end promise to take; a configuration beyond is refused.

namespace seq1f1b::kernels {

inline constexpr int kMaxHeadDim = 256;  // of attention; published models have 64 to 256

}  // namespace seq1f1b::kernels

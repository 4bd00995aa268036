#pragma once
// The instruction sets that hot loops are compiled for; the program itself is built for the
// baseline.

namespace seq1f1b::kernels::cpu {

enum class Isa { kBaseline, kAvx2, kAvx512 };  // kAvx2 includes FMA; kAvx512: F, BW, DQ, VL

inline constexpr Isa kAllIsas[] = {Isa::kBaseline, Isa::kAvx2, Isa::kAvx512};

const char* isa_name(Isa isa);
// Whether this processor and this build have it.
bool isa_available(Isa isa);
Isa best_isa();

}  // namespace seq1f1b::kernels::cpu

#pragma once
// BLIS's own kernels, by the processor that they were written for. Private to kernels/cpu.
#include <blis.h>

namespace seq1f1b::kernels::cpu {

// Read only, which versions before 1.0 do not say. Throws Error(kExitUnexpected) where BLIS was
// built without them: its lookup would then read address 0.
cntx_t* blis_kernels(arch_t processor);

}  // namespace seq1f1b::kernels::cpu

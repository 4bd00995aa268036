#include "kernels/cpu/row_loops.h"

#include "kernels/common/errors.h"

namespace seq1f1b::kernels::cpu {

// Defined by row_loops_<isa>.cpp.
namespace baseline {
extern const RowLoops kRowLoops;
}
#if defined(__x86_64__)
namespace avx2 {
extern const RowLoops kRowLoops;
}
namespace avx512 {
extern const RowLoops kRowLoops;
}
#endif

const RowLoops& row_loops(Isa isa) {
  switch (isa) {
    case Isa::kBaseline:
      return baseline::kRowLoops;
#if defined(__x86_64__)
    case Isa::kAvx2:
      return avx2::kRowLoops;
    case Isa::kAvx512:
      return avx512::kRowLoops;
#else
    default:
      break;
#endif
  }
  throw InternalError(concat("no loops for ", isa_name(isa)));
}

}  // namespace seq1f1b::kernels::cpu

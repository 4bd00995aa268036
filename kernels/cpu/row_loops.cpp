#include "kernels/cpu/row_loops.h"

#include "kernels/common/errors.h"

namespace seq1f1b::kernels::cpu {

// Defined by row_loops_<isa>.cpp.
namespace baseline {
template <class T>
const RowLoops<T>& row_loops();
}
#if defined(__x86_64__)
namespace avx2 {
template <class T>
const RowLoops<T>& row_loops();
}
namespace avx512 {
template <class T>
const RowLoops<T>& row_loops();
}
#endif

template <class T>
const RowLoops<T>& row_loops(Isa isa) {
  switch (isa) {
    case Isa::kBaseline:
      return baseline::row_loops<T>();
#if defined(__x86_64__)
    case Isa::kAvx2:
      return avx2::row_loops<T>();
    case Isa::kAvx512:
      return avx512::row_loops<T>();
#else
    default:
      break;
#endif
  }
  throw InternalError(concat("no loops for ", isa_name(isa)));
}

template const RowLoops<float>& row_loops<float>(Isa);

}  // namespace seq1f1b::kernels::cpu

#include "kernels/cpu/attention_tiles.h"

#include "kernels/common/errors.h"

namespace seq1f1b::kernels::cpu {

// Defined by attention_tiles_<isa>.cpp.
namespace baseline {
template <class T>
const AttentionTiles<T>& attention_tiles();
}
#if defined(__x86_64__)
namespace avx2 {
template <class T>
const AttentionTiles<T>& attention_tiles();
}
namespace avx512 {
template <class T>
const AttentionTiles<T>& attention_tiles();
}
#endif

template <class T>
const AttentionTiles<T>& attention_tiles(Isa isa) {
  switch (isa) {
    case Isa::kBaseline:
      return baseline::attention_tiles<T>();
#if defined(__x86_64__)
    case Isa::kAvx2:
      return avx2::attention_tiles<T>();
    case Isa::kAvx512:
      return avx512::attention_tiles<T>();
#else
    default:
      break;
#endif
  }
  throw InternalError(concat("no attention for ", isa_name(isa)));
}

template const AttentionTiles<float>& attention_tiles<float>(Isa);

}  // namespace seq1f1b::kernels::cpu

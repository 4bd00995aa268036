#include "kernels/cpu/attention_tiles.h"

#include "kernels/common/errors.h"

namespace seq1f1b::kernels::cpu {

// Defined by attention_tiles_<isa>.cpp.
namespace baseline {
extern const AttentionTiles kAttentionTiles;
}
#if defined(__x86_64__)
namespace avx2 {
extern const AttentionTiles kAttentionTiles;
}
namespace avx512 {
extern const AttentionTiles kAttentionTiles;
}
#endif

const AttentionTiles& attention_tiles(Isa isa) {
  switch (isa) {
    case Isa::kBaseline:
      return baseline::kAttentionTiles;
#if defined(__x86_64__)
    case Isa::kAvx2:
      return avx2::kAttentionTiles;
    case Isa::kAvx512:
      return avx512::kAttentionTiles;
#else
    default:
      break;
#endif
  }
  throw InternalError(concat("no attention for ", isa_name(isa)));
}

}  // namespace seq1f1b::kernels::cpu

#define SEQ1F1B_ISA_NAMESPACE avx2
#define SEQ1F1B_LANES 8
#include "kernels/cpu/attention_tiles.inc"

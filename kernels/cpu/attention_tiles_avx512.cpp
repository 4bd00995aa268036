#define SEQ1F1B_ISA_NAMESPACE avx512
#define SEQ1F1B_LANES 16
#include "kernels/cpu/attention_tiles.inc"

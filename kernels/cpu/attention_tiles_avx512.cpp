#define SEQ1F1B_ISA_NAMESPACE avx512
#include "kernels/cpu/attention_tiles.inc"

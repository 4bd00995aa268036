#define SEQ1F1B_ISA_NAMESPACE baseline
#include "kernels/cpu/attention_tiles.inc"

#define SEQ1F1B_ISA_NAMESPACE baseline
#define SEQ1F1B_LANES 4
#include "kernels/cpu/attention_tiles.inc"

#define SEQ1F1B_ISA_NAMESPACE baseline
#include "kernels/cpu/row_loops.inc"

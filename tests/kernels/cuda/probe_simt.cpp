// The probe of probe.cu as the emulator answers it.
#include "tests/kernels/cuda/probe.cu"

// The probe as the emulator answers it.
#include "tests/kernels/cuda/probe.cu"
#include "tests/kernels/cuda/probe_sm90.cu"

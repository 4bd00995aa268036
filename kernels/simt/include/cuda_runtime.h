#pragma once
// See cuda_runtime_api.h. Kernel sources get the device language from
// kernels/cuda/device_code/language.h.
#include <cuda_runtime_api.h>
#include "kernels/simt/vector_types.h"

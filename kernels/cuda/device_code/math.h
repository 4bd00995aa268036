#pragma once
// Exponentials as exact as the type of the result deserves: fp32 takes the mathematical library's,
// bf16 (8 bits) the instructions with a relative error of about 2^-21.
#include <cmath>
#include <type_traits>

#include "kernels/common/bf16.h"
#include "kernels/cuda/device_code/language.h"
#include "kernels/cuda/device_code/ptx.h"

namespace seq1f1b::kernels::cuda {

inline constexpr float kLog2E = 1.44269504f;

template <class T>
__device__ __forceinline__ float exponential(float x) {
  if constexpr (std::is_same_v<T, float>)
    return expf(x);
  else
    return exp2_approx(x * kLog2E);
}

// 1 / (1 + exp(-x))
template <class T>
__device__ __forceinline__ float logistic(float x) {
  if constexpr (std::is_same_v<T, float>)
    return 1.0f / (1.0f + expf(-x));
  else
    return __fdividef(1.0f, 1.0f + exp2_approx(-kLog2E * x));
}

}  // namespace seq1f1b::kernels::cuda

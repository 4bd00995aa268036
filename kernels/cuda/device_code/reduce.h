#pragma once
// Sums and maxima over a warp and a block, in a fixed order: the same values give the same bits.
// Every thread of the warp or block gets the result. Blocks consist of whole warps, all of which
// take part; `shared` holds one element per warp and may be used again for the next call.
#include "kernels/cuda/device_code/language.h"

namespace seq1f1b::kernels::cuda {

inline constexpr int kWarp = 32;
inline constexpr int kMaxWarps = 32;  // of a block
inline constexpr unsigned kWholeWarp = 0xffffffffu;

struct Sum {
  __device__ __forceinline__ float operator()(float a, float b) const { return a + b; }
  __device__ __forceinline__ double operator()(double a, double b) const { return a + b; }
};
struct Maximum {
  __device__ __forceinline__ float operator()(float a, float b) const { return a > b ? a : b; }
};

// By halves: a + b is b + a to the bit, so all lanes end with the same value.
template <class Operation, class T>
__device__ __forceinline__ T warp_reduce(T value) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2)
    value = Operation{}(value, __shfl_xor_sync(kWholeWarp, value, distance));
  return value;
}

// `neutral` changes nothing under the operation.
template <class Operation, class T>
__device__ __forceinline__ T block_reduce(T value, T neutral, T* shared) {
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp;
  value = warp_reduce<Operation>(value);
  if (warps == 1) return value;
  __syncthreads();  // of the call before, all have read
  if (lane == 0) shared[warp] = value;
  __syncthreads();
  return warp_reduce<Operation>(lane < warps ? shared[lane] : neutral);
}

template <class T>
__device__ __forceinline__ T block_sum(T value, T* shared) {
  return block_reduce<Sum>(value, T{0}, shared);
}

// Two sums at the price of one; `shared` holds two elements per warp.
__device__ __forceinline__ void block_sums(float& first, float& second, float* shared) {
  const int lane = threadIdx.x % kWarp, warp = threadIdx.x / kWarp, warps = blockDim.x / kWarp;
  first = warp_reduce<Sum>(first);
  second = warp_reduce<Sum>(second);
  if (warps == 1) return;
  __syncthreads();  // of the call before, all have read
  if (lane == 0) {
    shared[warp] = first;
    shared[kMaxWarps + warp] = second;
  }
  __syncthreads();
  first = warp_reduce<Sum>(lane < warps ? shared[lane] : 0.0f);
  second = warp_reduce<Sum>(lane < warps ? shared[kMaxWarps + lane] : 0.0f);
}

}  // namespace seq1f1b::kernels::cuda

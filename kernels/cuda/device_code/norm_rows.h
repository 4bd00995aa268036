#pragma once
// How the threads of a row share it: thread t of blockDim.x holds the packets t, t + blockDim.x,
// ..., kHeld of them in registers; with kHeld = 0 rows are of any length and read at every use.
#include "kernels/cuda/device_code/vector.h"

namespace seq1f1b::kernels::cuda {

// Calls body(k, packet) for this thread's packets, k counting them.
template <int kHeld, class Body>
__device__ __forceinline__ void for_held(int packets, Body body) {
  if constexpr (kHeld > 0) {
#pragma unroll
    for (int k = 0; k < kHeld; ++k) {
      const int packet = threadIdx.x + k * blockDim.x;
      if (packet < packets) body(k, packet);
    }
  } else {
    for (int packet = threadIdx.x; packet < packets; packet += blockDim.x) body(0, packet);
  }
}

// A row to read.
template <class T, int kWidth, int kHeld>
class NormRow {
 public:
  __device__ __forceinline__ NormRow() : held_{} {}
  __device__ __forceinline__ NormRow(const T* row, int packets) { read(row, packets); }
  __device__ __forceinline__ void read(const T* row, int packets) {
    row_ = row;
    packets_ = packets;
    if constexpr (kHeld > 0)
      for_held<kHeld>(packets, [&](int k, int packet) {
        held_[k].load(row + static_cast<std::int64_t>(packet) * kWidth);
      });
  }
  // The values of this thread's k-th packet.
  __device__ __forceinline__ void get(int k, int packet, float (&values)[kWidth]) const {
    if constexpr (kHeld > 0)
      held_[k].unpack(values);
    else
      load_values<kWidth>(row_ + static_cast<std::int64_t>(packet) * kWidth, values);
  }
  // Calls body(packet, values) for this thread's packets.
  template <class Body>
  __device__ __forceinline__ void visit(Body body) const {
    for_held<kHeld>(packets_, [&](int k, int packet) {
      float values[kWidth];
      get(k, packet, values);
      body(packet, values);
    });
  }

 private:
  const T* row_ = nullptr;
  int packets_ = 0;
  Packet<T, kWidth> held_[kHeld > 0 ? kHeld : 1];
};

// This thread's columns of the sums over a block's rows that the gradients of weight and bias are
// made of: in registers, or for rows of any length in their place in scratch.
template <int kWidth, int kHeld>
class NormGradientSums {
 public:
  // `bias` may be null.
  __device__ __forceinline__ NormGradientSums(float* weight, float* bias)
      : weight_(weight), bias_(bias) {
    if constexpr (kHeld > 0)
#pragma unroll
      for (int k = 0; k < kHeld; ++k)
#pragma unroll
        for (int i = 0; i < kWidth; ++i) weight_sums_[k][i] = bias_sums_[k][i] = 0;
  }
  // Calls body(k, packet, weight_sum, bias_sum) for this thread's packets; body adds to the sums.
  template <class Body>
  __device__ __forceinline__ void visit(int packets, Body body, bool first) {
    for_held<kHeld>(packets, [&](int k, int packet) {
      if constexpr (kHeld > 0) {
        body(k, packet, weight_sums_[k], bias_sums_[k]);
      } else {
        float weight_sum[kWidth] = {}, bias_sum[kWidth] = {};
        if (!first) {
          load(weight_, packet, weight_sum);
          if (bias_) load(bias_, packet, bias_sum);
        }
        body(k, packet, weight_sum, bias_sum);
        write(weight_, packet, weight_sum);
        if (bias_) write(bias_, packet, bias_sum);
      }
    });
  }
  __device__ __forceinline__ void store(int packets) const {
    if constexpr (kHeld > 0)
      for_held<kHeld>(packets, [&](int k, int packet) {
        write(weight_, packet, weight_sums_[k]);
        if (bias_) write(bias_, packet, bias_sums_[k]);
      });
  }

 private:
  // The sums of a block begin a whole number of packets behind the aligned ones of the first.
  static __device__ __forceinline__ void load(const float* sums, int packet,
                                              float (&values)[kWidth]) {
    load_floats<kWidth>(sums + static_cast<std::int64_t>(packet) * kWidth, values);
  }
  static __device__ __forceinline__ void write(float* sums, int packet,
                                               const float (&values)[kWidth]) {
    store_floats<kWidth>(sums + static_cast<std::int64_t>(packet) * kWidth, values);
  }

  float *weight_, *bias_;
  float weight_sums_[kHeld > 0 ? kHeld : 1][kWidth], bias_sums_[kHeld > 0 ? kHeld : 1][kWidth];
};

}  // namespace seq1f1b::kernels::cuda

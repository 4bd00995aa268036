#pragma once
#include <cstdint>

namespace seq1f1b::kernels::reference {

// sum_i a[i] * b[i] as eight interleaved partial sums (i mod 8), combined pairwise: a fixed order
// that compilers vectorise, and closer to the exact sum than one running total.
template <class T>
T dot(const T* a, const T* b, std::int64_t count) {
  constexpr int kLanes = 8;
  T lane[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (int j = 0; j < kLanes; ++j) lane[j] += a[i + j] * b[i + j];
  for (int j = 0; i < count; ++i, ++j) lane[j] += a[i] * b[i];
  return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

// y += a * x
template <class T>
void add_scaled(T a, const T* x, T* y, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) y[i] += a * x[i];
}

}  // namespace seq1f1b::kernels::reference

#pragma once
#include <cstdint>

namespace seq1f1b::kernels::reference {

// sum_i a[i] * b[i] in the type A as eight interleaved partial sums (i mod 8), combined pairwise: a
// fixed order that compilers vectorise, and closer to the exact sum than one running total.
template <class A, class T, class U>
A dot(const T* a, const U* b, std::int64_t count) {
  constexpr int kLanes = 8;
  A lane[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (int j = 0; j < kLanes; ++j) lane[j] += static_cast<A>(a[i + j]) * static_cast<A>(b[i + j]);
  for (int j = 0; i < count; ++i, ++j) lane[j] += static_cast<A>(a[i]) * static_cast<A>(b[i]);
  return ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

// y += a * x
template <class A, class T>
void add_scaled(A a, const T* x, A* y, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) y[i] += a * static_cast<A>(x[i]);
}

// Rounds a row of sums into a tensor.
template <class T, class A>
void round_row(const A* sums, T* output, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) output[i] = static_cast<T>(sums[i]);
}

}  // namespace seq1f1b::kernels::reference

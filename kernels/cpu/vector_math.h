#pragma once
// Elementary functions in fp32 that compilers vectorise when called from a plain loop: no branches,
// no library calls, no tables.
#include <cstdint>

// Always inlined, so that a source compiled for one instruction set never shares its copy with
// another.
#define SEQ1F1B_VECTOR_INLINE static inline __attribute__((always_inline))

namespace seq1f1b::kernels::cpu {

// e^x over the whole range: 0 below -104, infinity above 88.73, subnormals where due, NaN for NaN.
// Within 1.1 units in the last place (the tests measure it on each instruction set).
//   x = n ln 2 + r, |r| <= ln 2 / 2; e^r = 1 + r + r^2 q(r), q of degree 4, fitted by the exchange
//   algorithm of Remez to a relative error of e^r of 3.1e-9.
SEQ1F1B_VECTOR_INLINE float exponential(float x) {
  constexpr float kLog2E = 1.44269504f;
  // ln 2 in two parts, the first with so few digits that n times it is exact.
  constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  x = x > 89.0f ? 89.0f : x;
  x = x < -104.0f ? -104.0f : x;
  const float n = (x * kLog2E + kRound) - kRound;
  const float r = (x - n * kLn2High) - n * kLn2Low;
  float q = 1.3814467e-3f;
  q = q * r + 8.368781e-3f;
  q = q * r + 4.1668393e-2f;
  q = q * r + 1.666652e-1f;
  q = q * r + 4.9999994e-1f;
  const float power = 1.0f + (r + r * r * q);
  // 2^n in two factors, since n reaches -150 and 128. (NaN's integer is unspecified but harmless.)
  const auto exponent = static_cast<std::int32_t>(n == n ? n : 0.0f);
  const std::int32_t half = exponent >> 1;
  const float first = __builtin_bit_cast(float, (half + 127) << 23);
  const float second = __builtin_bit_cast(float, (exponent - half + 127) << 23);
  return power * first * second;
}

// 1 / (1 + e^-x). The exponent is held below 87 so that the result stays a normal number.
SEQ1F1B_VECTOR_INLINE float logistic(float x) {
  const float e = exponential(x < -87.0f ? 87.0f : -x);
  return 1.0f / (1.0f + e);
}

}  // namespace seq1f1b::kernels::cpu

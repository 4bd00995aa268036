#pragma once
// Vectors as wide as the instruction set of the including source, through the vector extension that
// g++ and clang++ share. Everything has internal linkage: a copy compiled for a newer instruction
// set must never be the one that the linker keeps for all.
#include <cstdint>

#define SEQ1F1B_SIMD static inline __attribute__((always_inline))

namespace seq1f1b::kernels::cpu {
namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
constexpr int kPanelVectors = 4;  // columns of a register block, see tile_product.h
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
constexpr int kPanelVectors = 2;
#else
constexpr int kVectorBytes = 16;
constexpr int kPanelVectors = 2;
#endif
constexpr std::int64_t kWidth = kVectorBytes / 4;  // floats in a vector

typedef float Vector __attribute__((vector_size(kVectorBytes)));
typedef std::int32_t IntVector __attribute__((vector_size(kVectorBytes)));
typedef std::uint32_t UintVector __attribute__((vector_size(kVectorBytes)));
typedef float UnalignedVector __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
typedef float Quad __attribute__((vector_size(16)));
typedef std::int32_t IntQuad __attribute__((vector_size(16)));
typedef float UnalignedQuad __attribute__((vector_size(16), aligned(4), may_alias));

SEQ1F1B_SIMD Vector load(const float* p) { return *reinterpret_cast<const UnalignedVector*>(p); }
SEQ1F1B_SIMD Quad load_quad(const float* p) { return *reinterpret_cast<const UnalignedQuad*>(p); }
SEQ1F1B_SIMD void store(float* p, Vector v) { *reinterpret_cast<UnalignedVector*>(p) = v; }
SEQ1F1B_SIMD Vector fill(float x) { return Vector{} + x; }
SEQ1F1B_SIMD Vector max(Vector a, Vector b) { return a > b ? a : b; }

// x[i][j] becomes x[j][i].
SEQ1F1B_SIMD void transpose(Quad (&x)[4]) {
#if defined(__clang__)
#define SEQ1F1B_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SEQ1F1B_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, IntQuad{__VA_ARGS__})
#endif
  const Quad left01 = SEQ1F1B_SHUFFLE(x[0], x[1], 0, 4, 1, 5);
  const Quad right01 = SEQ1F1B_SHUFFLE(x[0], x[1], 2, 6, 3, 7);
  const Quad left23 = SEQ1F1B_SHUFFLE(x[2], x[3], 0, 4, 1, 5);
  const Quad right23 = SEQ1F1B_SHUFFLE(x[2], x[3], 2, 6, 3, 7);
  x[0] = SEQ1F1B_SHUFFLE(left01, left23, 0, 1, 4, 5);
  x[1] = SEQ1F1B_SHUFFLE(left01, left23, 2, 3, 6, 7);
  x[2] = SEQ1F1B_SHUFFLE(right01, right23, 0, 1, 4, 5);
  x[3] = SEQ1F1B_SHUFFLE(right01, right23, 2, 3, 6, 7);
#undef SEQ1F1B_SHUFFLE
}

// 2^x for x <= 1, to a relative error of 1e-7; 0 below -126, NaN for NaN.
//   x = n + r with integer n, |r| <= 1/2; 2^r is a polynomial of degree 6 that is 1 at 0, fitted by
//   the exchange algorithm of Remez to a relative error of 2.6e-9 (2.1e-8 with coefficients in
//   fp32).
SEQ1F1B_SIMD Vector exp2(Vector x) {
  constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it leaves n in the low bits
  const Vector shifted = x + kRound;
  const Vector r = x - (shifted - kRound);
  Vector power = r * 1.5594678e-4f + 1.3406643e-3f;
  power = power * r + 9.617693e-3f;
  power = power * r + 5.5503104e-2f;
  power = power * r + 2.4022652e-1f;
  power = power * r + 6.9314724e-1f;
  power = power * r + 1.0f;
  const UintVector scaled =
      reinterpret_cast<UintVector>(power) + (reinterpret_cast<UintVector>(shifted) << 23);
  return x < -126.0f ? Vector{} : reinterpret_cast<Vector>(scaled);
}

}  // namespace
}  // namespace seq1f1b::kernels::cpu

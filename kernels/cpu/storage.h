#pragma once
// The types that compute tensors may be stored in, for the loops that are compiled once per
// instruction set: values are widened to fp32 when read and narrowed when written. A further type
// needs an overload of widen and a specialisation of narrow here, of load and load_quad in
// simd_vector.h, a line in dtype.h, a product in products.h, and an instantiation of each template
// of this back end.
//
// Overloads rather than members of the type: those have external linkage, and a copy compiled for a
// newer instruction set must never be the one that the linker keeps for all.
namespace seq1f1b::kernels::cpu {
namespace {

template <class T>
constexpr bool kStoredAsFp32 = false;
template <>
constexpr bool kStoredAsFp32<float> = true;

inline __attribute__((always_inline)) float widen(float stored) { return stored; }

template <class T>
T narrow(float value);
template <>
inline __attribute__((always_inline)) float narrow<float>(float value) {
  return value;
}

}  // namespace
}  // namespace seq1f1b::kernels::cpu

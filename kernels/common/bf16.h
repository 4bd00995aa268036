#pragma once
// bfloat16: the upper half of an fp32. Storage only; arithmetic happens in fp32. Usable in host and
// device code; kernels that convert many values use the paired conversions of their own headers.
#include <bit>
#include <cstdint>

#ifdef __CUDACC__
#define SEQ1F1B_HOST_DEVICE __host__ __device__
#else
#define SEQ1F1B_HOST_DEVICE
#endif

namespace seq1f1b::kernels {

struct Bf16 {
  std::uint16_t bits;

  Bf16() = default;
  // To the nearest, ties to even; a NaN stays a (quiet) NaN.
  SEQ1F1B_HOST_DEVICE explicit Bf16(float value) {
    const auto word = std::bit_cast<std::uint32_t>(value);
    const bool nan = (word & 0x7fffffffu) > 0x7f800000u;
    const std::uint32_t rounded = word + 0x7fffu + ((word >> 16) & 1u);
    bits = static_cast<std::uint16_t>(nan ? (word >> 16) | 0x40u : rounded >> 16);
  }
  SEQ1F1B_HOST_DEVICE explicit operator float() const {
    return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
  }
};
static_assert(sizeof(Bf16) == 2);

}  // namespace seq1f1b::kernels

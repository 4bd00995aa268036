#include "core/checkpoint/finite.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace seq1f1b::checkpoint {
namespace {

// IEEE 754 and bf16 alike: infinities and NaN are what has every bit of the exponent. Elements lie
// unaligned in a file. Looks at blocks as a whole, which the compiler makes vectors of.
template <class Bits>
std::optional<std::size_t> search(std::span<const std::byte> data, Bits exponent) {
  constexpr std::size_t kBlock = 1024;
  const std::size_t count = data.size() / sizeof(Bits);
  Bits block[kBlock];
  for (std::size_t first = 0; first < count; first += kBlock) {
    const std::size_t size = std::min(kBlock, count - first);
    std::memcpy(block, data.data() + first * sizeof(Bits), size * sizeof(Bits));
    bool found = false;
    for (std::size_t i = 0; i < size; ++i) found |= (block[i] & exponent) == exponent;
    if (!found) continue;
    for (std::size_t i = 0; i < size; ++i)
      if ((block[i] & exponent) == exponent) return first + i;
  }
  return std::nullopt;
}

}  // namespace

std::optional<std::size_t> first_not_finite(const StoredTensor& tensor) {
  switch (tensor.dtype) {
    case kernels::Dtype::kF64:
      return search<std::uint64_t>(tensor.data, 0x7ff0'0000'0000'0000);
    case kernels::Dtype::kF32:
      return search<std::uint32_t>(tensor.data, 0x7f80'0000);
    case kernels::Dtype::kBf16:
      return search<std::uint16_t>(tensor.data, 0x7f80);
    case kernels::Dtype::kI32:
      return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace seq1f1b::checkpoint

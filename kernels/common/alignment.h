#pragma once
#include <cstddef>

namespace seq1f1b::kernels {

// Where tensors may begin in memory that is carved up: what Device::allocate promises of its own.
inline constexpr std::size_t kTensorAlignment = 256;  // bytes

constexpr std::size_t aligned(std::size_t bytes) {
  return (bytes + kTensorAlignment - 1) / kTensorAlignment * kTensorAlignment;
}

}  // namespace seq1f1b::kernels

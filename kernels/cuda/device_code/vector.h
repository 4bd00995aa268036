#pragma once
// Packets: the few neighbouring elements that a thread reads or writes in one access. Memory-bound
// kernels move 16 bytes per access where addresses allow it: 8 bf16 or 4 fp32. A width of 1 serves
// rows that begin anywhere; kernels take the width as a template argument and their launcher
// chooses it, so both have one source.
#include <bit>
#include <cstdint>

#include "kernels/common/bf16.h"
#include "kernels/cuda/device_code/language.h"
#include "kernels/cuda/device_code/ptx.h"

namespace seq1f1b::kernels::cuda {

// Elements of a 16-byte access.
template <class T>
inline constexpr int kFullWidth = 16 / static_cast<int>(sizeof(T));

// Unsigned words of 4 bytes per access.
template <int kWords>
struct AccessOf;
template <>
struct AccessOf<4> {
  using Type = uint4;
};
template <>
struct AccessOf<2> {
  using Type = uint2;
};

__device__ __forceinline__ float low_bf16(std::uint32_t pair) {
  return std::bit_cast<float>(pair << 16);
}
__device__ __forceinline__ float high_bf16(std::uint32_t pair) {
  return std::bit_cast<float>(pair & 0xffff0000u);
}

template <class T, int kWidth>
class Packet {
  static constexpr int kWords = kWidth * static_cast<int>(sizeof(T)) / 4;
  using Access = typename AccessOf<kWords>::Type;

 public:
  // `pointer` is aligned to the packet's size.
  __device__ __forceinline__ void load(const T* pointer) {
    access_ = access_as<const Access>(pointer);
  }
  __device__ __forceinline__ void store(T* pointer) const {
    if constexpr (kWords == 4)
      store_16(pointer, access_.x, access_.y, access_.z, access_.w);
    else
      store_8(pointer, access_.x, access_.y);
  }
  __device__ __forceinline__ void unpack(float (&values)[kWidth]) const {
    unpack_pair(access_.x, access_.y, values);
    if constexpr (kWords == 4) unpack_pair(access_.z, access_.w, values + kWidth / 2);
  }
  // Rounded to the nearest even.
  __device__ __forceinline__ void pack(const float (&values)[kWidth]) {
    pack_pair(values, access_.x, access_.y);
    if constexpr (kWords == 4) pack_pair(values + kWidth / 2, access_.z, access_.w);
  }

 private:
  static __device__ __forceinline__ void unpack_pair(std::uint32_t first, std::uint32_t second,
                                                     float* values) {
    if constexpr (sizeof(T) == 4) {
      values[0] = std::bit_cast<float>(first);
      values[1] = std::bit_cast<float>(second);
    } else {
      values[0] = low_bf16(first);
      values[1] = high_bf16(first);
      values[2] = low_bf16(second);
      values[3] = high_bf16(second);
    }
  }
  static __device__ __forceinline__ void pack_pair(const float* values, std::uint32_t& first,
                                                   std::uint32_t& second) {
    if constexpr (sizeof(T) == 4) {
      first = std::bit_cast<std::uint32_t>(values[0]);
      second = std::bit_cast<std::uint32_t>(values[1]);
    } else {
      first = pack_bf16(values[0], values[1]);
      second = pack_bf16(values[2], values[3]);
    }
  }

  Access access_;
};

template <class T>
class Packet<T, 1> {
 public:
  __device__ __forceinline__ void load(const T* pointer) { value_ = *pointer; }
  __device__ __forceinline__ void store(T* pointer) const { *pointer = value_; }
  __device__ __forceinline__ void unpack(float (&values)[1]) const {
    values[0] = static_cast<float>(value_);
  }
  __device__ __forceinline__ void pack(const float (&values)[1]) {
    value_ = static_cast<T>(values[0]);
  }

 private:
  T value_;
};

// The values of one packet at `pointer`, and back.
template <int kWidth, class T>
__device__ __forceinline__ void load_values(const T* pointer, float (&values)[kWidth]) {
  Packet<T, kWidth> packet;
  packet.load(pointer);
  packet.unpack(values);
}
template <int kWidth, class T>
__device__ __forceinline__ void store_values(T* pointer, const float (&values)[kWidth]) {
  Packet<T, kWidth> packet;
  packet.pack(values);
  packet.store(pointer);
}

// kWidth fp32 values, 16 bytes at a time where they are whole multiples of that; then `pointer` is
// aligned to 16 bytes.
template <int kWidth>
inline constexpr int kFloatPiece = kWidth % 4 == 0 ? 4 : 1;
template <int kWidth>
__device__ __forceinline__ void load_floats(const float* pointer, float (&values)[kWidth]) {
  constexpr int kPiece = kFloatPiece<kWidth>;
#pragma unroll
  for (int i = 0; i < kWidth; i += kPiece) {
    float piece[kPiece];
    load_values<kPiece>(pointer + i, piece);
#pragma unroll
    for (int e = 0; e < kPiece; ++e) values[i + e] = piece[e];
  }
}
template <int kWidth>
__device__ __forceinline__ void store_floats(float* pointer, const float (&values)[kWidth]) {
  constexpr int kPiece = kFloatPiece<kWidth>;
#pragma unroll
  for (int i = 0; i < kWidth; i += kPiece) {
    float piece[kPiece];
#pragma unroll
    for (int e = 0; e < kPiece; ++e) piece[e] = values[i + e];
    store_values<kPiece>(pointer + i, piece);
  }
}

}  // namespace seq1f1b::kernels::cuda

#pragma once
// Non-owning, contiguous, row-major views of device memory, typed at run time.
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "kernels/common/errors.h"

namespace seq1f1b::kernels {

enum class Dtype : std::uint8_t { kF64, kF32, kBf16, kI32 };

constexpr std::size_t dtype_bytes(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF64: return 8;
    case Dtype::kF32: return 4;
    case Dtype::kBf16: return 2;
    case Dtype::kI32: return 4;
  }
  return 0;
}
constexpr const char* dtype_name(Dtype dtype) {
  switch (dtype) {
    case Dtype::kF64: return "fp64";
    case Dtype::kF32: return "fp32";
    case Dtype::kBf16: return "bf16";
    case Dtype::kI32: return "int32";
  }
  return "?";
}

// At most four dimensions. A default-constructed Tensor is "absent" (no bias, no residual, ...).
struct Tensor {
  static constexpr int kMaxRank = 4;

  void* data = nullptr;
  Dtype dtype = Dtype::kF32;
  int rank = 0;
  std::array<std::int64_t, kMaxRank> shape{};

  Tensor() = default;
  Tensor(void* pointer, Dtype type, std::initializer_list<std::int64_t> dimensions)
      : data(pointer), dtype(type), rank(static_cast<int>(dimensions.size())) {
    SEQ1F1B_ASSERT(rank <= kMaxRank, "rank ", rank);
    int i = 0;
    for (std::int64_t extent : dimensions) shape[static_cast<std::size_t>(i++)] = extent;
  }

  explicit operator bool() const { return data != nullptr; }
  std::int64_t dim(int axis) const { return shape[static_cast<std::size_t>(axis)]; }
  std::int64_t elements() const {
    std::int64_t count = 1;
    for (int i = 0; i < rank; ++i) count *= dim(i);
    return count;
  }
  std::size_t bytes() const { return static_cast<std::size_t>(elements()) * dtype_bytes(dtype); }
  template <class T>
  T* as() const {
    return static_cast<T*>(data);
  }
  // The same memory with another shape of as many elements.
  Tensor reshaped(std::initializer_list<std::int64_t> dimensions) const {
    Tensor view(data, dtype, dimensions);
    SEQ1F1B_ASSERT(view.elements() == elements(), "reshape changes the element count");
    return view;
  }
};

inline std::string describe(const Tensor& tensor) {
  std::string text = concat(dtype_name(tensor.dtype), "[");
  for (int i = 0; i < tensor.rank; ++i) text += concat(i ? "," : "", tensor.dim(i));
  return text + "]";
}

}  // namespace seq1f1b::kernels

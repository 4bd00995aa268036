#pragma once
#include "kernels/common/tensor.h"

namespace seq1f1b::kernels::cpu {

// The run-time name of a storage type; undefined for types that this back end is not built for.
template <class T>
struct StorageDtype;
template <>
struct StorageDtype<float> {
  static constexpr Dtype kValue = Dtype::kF32;
};

template <class T>
inline constexpr Dtype kDtypeOf = StorageDtype<T>::kValue;

}  // namespace seq1f1b::kernels::cpu

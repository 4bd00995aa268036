#pragma once
// Atomic functions (CUDA C++ Programming Guide, "Atomic Functions"). One thread runs at a time, so
// a plain read and write is atomic; each returns the old value.
#include <algorithm>
#include <type_traits>

#define SEQ1F1B_SIMT_ATOMIC(name, new_value)          \
  template <class T>                                  \
  T name(T* address, std::type_identity_t<T> value) { \
    const T old = *address;                           \
    *address = static_cast<T>(new_value);             \
    return old;                                       \
  }
SEQ1F1B_SIMT_ATOMIC(atomicAdd, old + value)
SEQ1F1B_SIMT_ATOMIC(atomicSub, old - value)
SEQ1F1B_SIMT_ATOMIC(atomicExch, value)
SEQ1F1B_SIMT_ATOMIC(atomicMin, std::min(old, value))
SEQ1F1B_SIMT_ATOMIC(atomicMax, std::max(old, value))
SEQ1F1B_SIMT_ATOMIC(atomicAnd, old& value)
SEQ1F1B_SIMT_ATOMIC(atomicOr, old | value)
SEQ1F1B_SIMT_ATOMIC(atomicXor, old ^ value)
SEQ1F1B_SIMT_ATOMIC(atomicInc, old >= value ? 0 : old + 1)
SEQ1F1B_SIMT_ATOMIC(atomicDec, old == 0 || old > value ? value : old - 1)
#undef SEQ1F1B_SIMT_ATOMIC

template <class T>
T atomicCAS(T* address, std::type_identity_t<T> compare, std::type_identity_t<T> value) {
  const T old = *address;
  if (old == compare) *address = value;
  return old;
}

#pragma once
// CUDA's device language for a host compiler: what kernels/cuda/device_code/language.h promises to
// kernel sources. Every name here means what the CUDA C++ Programming Guide says, chapter "C++
// Language Extensions"; what the guide leaves undefined is reported instead (block.h).
#include <cuda_runtime_api.h>
#include <math.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <type_traits>

#include "kernels/cuda/check.h"
#include "kernels/simt/atomics.h"
#include "kernels/simt/block.h"
#include "kernels/simt/device_math.h"
#include "kernels/simt/launch.h"
#include "kernels/simt/vector_types.h"
#include "kernels/simt/warp.h"

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define threadIdx (::seq1f1b::simt::current_thread().index)
#define blockIdx (::seq1f1b::simt::current_block().index)
#define blockDim (::seq1f1b::simt::current_block().call.block)
#define gridDim (::seq1f1b::simt::current_block().call.grid)
inline constexpr int warpSize = 32;

#define SEQ1F1B_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)          \
  ::seq1f1b::kernels::cuda::check(                                              \
      ::seq1f1b::simt::launch<kernel>(#kernel, (grid), (block), (shared_bytes), \
                                      (stream)__VA_OPT__(, ) __VA_ARGS__),      \
      "launching " #kernel)
// The address of `name##_place` says which declaration it is.
#define SEQ1F1B_SHARED(name, ...)                                                                 \
  static char name##_place;                                                                       \
  auto& name = ::seq1f1b::simt::current_block().static_shared<std::type_identity_t<__VA_ARGS__>>( \
      &name##_place)
#define SEQ1F1B_DYNAMIC_SHARED(name)           \
  [[maybe_unused]] unsigned char* const name = \
      reinterpret_cast<unsigned char*>(::seq1f1b::simt::current_block().shared())

namespace seq1f1b::kernels::cuda {

template <class Kernel>
void allow_shared_bytes(Kernel* kernel, std::size_t bytes) {
  check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                             cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
        "asking for shared memory");
}

inline std::byte* scratch_piece(std::byte* place, std::size_t bytes) {
  return simt::piece_of_memory(place, bytes);
}

template <class Access, class T>
Access& access_as(T* pointer, simt::Where where = simt::Where::current()) {
  simt::check_alignment(pointer, alignof(Access), where);
  return *reinterpret_cast<Access*>(pointer);
}

}  // namespace seq1f1b::kernels::cuda

// ---- Barriers and fences ----
// Memory is in order here: threads of a block run one after the other.

inline void __syncthreads(seq1f1b::simt::Where where = seq1f1b::simt::Where::current()) {
  seq1f1b::simt::current_block().sync_threads(where);
}
// The predicate counted over the block. Two barriers, as a thread must not enter the next count
// before all have read this one.
inline int __syncthreads_count(int predicate,
                               seq1f1b::simt::Where where = seq1f1b::simt::Where::current()) {
  auto& block = seq1f1b::simt::current_block();
  block.ballot += predicate != 0;
  block.sync_threads(where);
  const int count = block.ballot;
  block.sync_threads(where);
  block.ballot = 0;
  block.sync_threads(where);
  return count;
}
inline int __syncthreads_or(int predicate,
                            seq1f1b::simt::Where where = seq1f1b::simt::Where::current()) {
  return __syncthreads_count(predicate != 0, where) != 0;
}
inline int __syncthreads_and(int predicate,
                             seq1f1b::simt::Where where = seq1f1b::simt::Where::current()) {
  return __syncthreads_count(predicate == 0, where) == 0;
}
inline void __threadfence() {}
inline void __threadfence_block() {}
inline void __threadfence_system() {}
inline void __nanosleep(unsigned) { seq1f1b::simt::current_block().yield(); }
[[noreturn]] inline void __trap(seq1f1b::simt::Where where = seq1f1b::simt::Where::current()) {
  seq1f1b::simt::current_block().fail("__trap()", where);
}

// ---- Memory with cache hints ----

template <class T>
T __ldg(const T* pointer) {
  return *pointer;
}
template <class T>
T __ldcs(const T* pointer) {
  return *pointer;
}
template <class T>
T __ldcg(const T* pointer) {
  return *pointer;
}
template <class T>
T __ldca(const T* pointer) {
  return *pointer;
}
template <class T>
T __ldlu(const T* pointer) {
  return *pointer;
}
template <class T>
T __ldcv(const T* pointer) {
  return *pointer;
}
template <class T>
void __stcs(T* pointer, std::type_identity_t<T> value) {
  *pointer = value;
}
template <class T>
void __stcg(T* pointer, std::type_identity_t<T> value) {
  *pointer = value;
}
template <class T>
void __stwt(T* pointer, std::type_identity_t<T> value) {
  *pointer = value;
}
template <class T>
void __stwb(T* pointer, std::type_identity_t<T> value) {
  *pointer = value;
}

inline long long clock64() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

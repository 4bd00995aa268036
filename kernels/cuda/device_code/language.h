#pragma once
// The device as kernel sources see it. Compiled by nvcc this is CUDA; compiled by a host compiler
// with SEQ1F1B_SIMT defined it is the emulator of kernels/simt, which runs the same sources on the
// CPU. Kernel sources include no other CUDA header; inline PTX is in ptx.h and ptx_sm90.h.
//
//   SEQ1F1B_LAUNCH(kernel, grid, block, shared_bytes, stream, arguments...)
//       starts a kernel; `kernel`, a constant, in parentheses when it has template arguments;
//       throws Error when the launch is refused. More than 48 KiB of dynamic shared memory are
//       asked for first by allow_shared_bytes(kernel, bytes).
//   SEQ1F1B_DYNAMIC_SHARED(name)
//       declares `unsigned char* name`, the block's dynamic shared memory, aligned to 1024 bytes.
//       Whatever a 32-bit shared-space address is taken of must lie in there.
//   access_as<Access>(pointer)
//       the memory there as one Access (uint4, float2, ...); the address must be a multiple of its
//       size, which the emulator checks.
//   scratch_piece(place, bytes)
//       where a piece of scratch that belongs at `place` lies: there, on a GPU.
//   SEQ1F1B_SHARED(name, type)
//       declares `name` of a type without constructor in the block's static shared memory.
#ifdef SEQ1F1B_SIMT
#include "kernels/simt/language.h"
#else
#include <cuda_runtime.h>

#include <cstddef>
#include <type_traits>

#include "kernels/cuda/check.h"

#define SEQ1F1B_LAUNCH(kernel, grid, block, shared_bytes, stream, ...)         \
  do {                                                                         \
    kernel<<<(grid), (block), (shared_bytes), (stream)>>>(__VA_ARGS__);        \
    ::seq1f1b::kernels::cuda::check(cudaGetLastError(), "launching " #kernel); \
  } while (false)
#define SEQ1F1B_SHARED(name, ...) __shared__ std::type_identity_t<__VA_ARGS__> name
#define SEQ1F1B_DYNAMIC_SHARED(name) extern __shared__ __align__(1024) unsigned char name[]

namespace seq1f1b::kernels::cuda {

template <class Kernel>
void allow_shared_bytes(Kernel* kernel, std::size_t bytes) {
  check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel),
                             cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)),
        "asking for shared memory");
}

inline std::byte* scratch_piece(std::byte* place, std::size_t) { return place; }

template <class Access, class T>
__device__ __forceinline__ Access& access_as(T* pointer) {
  return *reinterpret_cast<Access*>(pointer);
}

}  // namespace seq1f1b::kernels::cuda
#endif

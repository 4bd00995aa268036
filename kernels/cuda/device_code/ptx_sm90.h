#pragma once
// PTX instructions of compute capability 9.0 (sm_90a) as named functions, beside those of ptx.h:
// barriers in shared memory, the tensor memory accelerator (TMA), asynchronous products of a warp
// group (wgmma). Names, semantics and layouts are those of the PTX ISA manual 8.7, chapters
// "mbarrier", "Tensor copy" and "Asynchronous warpgroup level matrix instructions". The emulator of
// kernels/simt has the same functions.
//
// "shared" arguments are 32-bit addresses of the shared space, from shared_address(). Functions
// that say "one thread" are called by a single thread, "a warp group" by all 128 threads of four
// warps whose first has a number divisible by four.
#include "kernels/cuda/attention/tensor_map.h"
#include "kernels/cuda/device_code/ptx.h"

// Device code of this header's callers stands between #if SEQ1F1B_SM90 and #endif: other targets
// have none of these instructions. Host code does not need it.
#if defined(SEQ1F1B_SIMT) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define SEQ1F1B_SM90 1
#else
#define SEQ1F1B_SM90 0
#endif

#ifdef SEQ1F1B_SIMT
#include "kernels/simt/ptx_sm90.h"
#else
#include <cstdint>

#include "kernels/cuda/device_code/wgmma.h"

namespace seq1f1b::kernels::cuda {

// ---- Barriers in shared memory: 8 bytes each ----
// A phase ends when `count` arrivals and all bytes expected have come; then the next begins, with
// the same count. The first phase has parity 0.

// One thread; others may use the barrier after fence_mbarrier_init by that thread and
// __syncthreads.
__device__ __forceinline__ void mbarrier_init(std::uint32_t shared, int count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(shared), "r"(count) : "memory");
}
__device__ __forceinline__ void fence_mbarrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory");
}
__device__ __forceinline__ void mbarrier_arrive(std::uint32_t shared) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(shared) : "memory");
}
// Arrives, and lets the current phase wait for `bytes` more bytes of TMA loads.
__device__ __forceinline__ void mbarrier_arrive_expect(std::uint32_t shared, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(shared), "r"(bytes)
               : "memory");
}
// Returns once the phase of this parity has ended: at once where the current phase has the other
// parity. So a barrier never used lets a wait for parity 1 pass.
__device__ __forceinline__ void mbarrier_wait(std::uint32_t shared, int parity) {
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
      "@!p bra again;\n"
      "}\n" ::"r"(shared),
      "r"(parity)
      : "memory");
}

// ---- Copies by TMA; one thread issues each ----
// Tiles lie in shared memory in the map's box order, first dimension fastest, without gaps, and
// with the map's swizzle. What lies outside the tensor is zero when loaded and left out when
// stored; its bytes count as the others. Coordinates are in elements, first dimension first.

__device__ __forceinline__ void tma_load_4d(std::uint32_t shared, const TensorMap* map, int c0,
                                            int c1, int c2, int c3, std::uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3, %4, %5}], [%6];\n" ::"r"(shared),
      "l"(map), "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(barrier)
      : "memory");
}
// Reads shared memory in the asynchronous proxy: behind fence_proxy_async and a barrier. Belongs to
// the thread's next bulk group.
__device__ __forceinline__ void tma_store_4d(const TensorMap* map, int c0, int c1, int c2, int c3,
                                             std::uint32_t shared) {
  asm volatile(
      "cp.async.bulk.tensor.4d.global.shared::cta.tile.bulk_group [%0, {%1, %2, %3, %4}], "
      "[%5];\n" ::"l"(map),
      "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(shared)
      : "memory");
}
__device__ __forceinline__ void tma_prefetch_map(const TensorMap* map) {
  asm volatile("prefetch.tensormap [%0];\n" ::"l"(map) : "memory");
}
// `bytes` consecutive ones; addresses and `bytes` divisible by 16.
__device__ __forceinline__ void bulk_load(std::uint32_t shared, const void* global, int bytes,
                                          std::uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, "
      "[%3];\n" ::"r"(shared),
      "l"(global), "r"(bytes), "r"(barrier)
      : "memory");
}
// global[i] += shared[i], each an atomic fp32 addition, in no fixed order between calls.
__device__ __forceinline__ void bulk_reduce_add_f32(float* global, std::uint32_t shared,
                                                    int bytes) {
  asm volatile(
      "cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;\n" ::"l"(global),
      "r"(shared), "r"(bytes)
      : "memory");
}
__device__ __forceinline__ void bulk_commit() {
  asm volatile("cp.async.bulk.commit_group;\n" ::: "memory");
}
// Until at most kPending of this thread's bulk groups have still to read their shared memory.
template <int kPending>
__device__ __forceinline__ void bulk_wait_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;\n" ::"n"(kPending) : "memory");
}
// Makes this thread's plain writes to shared memory visible to TMA and wgmma.
__device__ __forceinline__ void fence_proxy_async() {
  asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
}

// ---- Warps ----

// Registers per thread from here on; all warps of a warp group, kCount divisible by 8.
template <int kCount>
__device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(kCount));
}
template <int kCount>
__device__ __forceinline__ void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(kCount));
}
// Barriers 0..15 of the block; 0 is __syncthreads'. `threads` counts both those that wait and those
// that only arrive, in whole warps.
__device__ __forceinline__ void barrier_sync(int id, int threads) {
  asm volatile("bar.sync %0, %1;\n" ::"r"(id), "r"(threads) : "memory");
}
__device__ __forceinline__ void barrier_arrive(int id, int threads) {
  asm volatile("bar.arrive %0, %1;\n" ::"r"(id), "r"(threads) : "memory");
}

// ---- wgmma ----
// d[64 x N] (+)= a[64 x 16] b[16 x N], bf16 in, fp32 out, by a warp group, asynchronous. Warp w,
// lane l, g = l / 4, t = l % 4:
//   d[4 j], d[4 j + 1]: row 16 w + g, columns 8 j + 2 t and + 1; d[4 j + 2], d[4 j + 3]: row + 8
//   a in registers, pairs of columns: a[0]: (16 w + g, 2 t..), a[1]: (row + 8, 2 t..),
//     a[2]: (16 w + g, 2 t + 8..), a[3]: (row + 8, 2 t + 8..)
// so columns 16 k .. 16 k + 15 of a product, rounded to bf16 pairs, are the a of step k of the
// next.
//
// Operands in shared memory are named by descriptors. All tiles here are made of panels: any number
// of rows of 128 bytes (64 elements) under the 128-byte swizzle, which puts 16-byte chunk c of row
// r in the place of chunk c ^ (r % 8); panels begin at multiples of 1024 bytes. A TMA box of 64
// elements times rows with CU_TENSOR_MAP_SWIZZLE_128B is a panel.
//   kInner: an element's row is its row of a (its column of b), the 64 elements run along the
//     16-deep inner dimension; step k begins 32 k bytes into the panel, k < 4.
//   kOuter: an element's row is its inner index, the 64 elements run along the rows of a (the
//     columns of b); step k begins 2048 k bytes into the panel; the next 64 are the next panel's.
//     The last panel may be used in part: N is any multiple of eight (probe_sm90.cu asks a GPU).
enum class Along { kInner, kOuter };

// The descriptor of a panel or of a step's place in it. Bits 0-13: address / 16; 16-29: leading
// byte offset / 16 (kOuter: from a panel to the next; else unused); 32-45: stride byte offset / 16
// (from eight rows to the next eight, 1024 bytes); 62-63: 1 = 128-byte swizzle.
__device__ __forceinline__ std::uint64_t panel_descriptor(std::uint32_t shared,
                                                          int panel_bytes = 16) {
  return (std::uint64_t{1} << 62) | (std::uint64_t{1024 / 16} << 32) |
         (static_cast<std::uint64_t>(panel_bytes / 16) << 16) | ((shared & 0x3ffffu) >> 4);
}

// Before the first wgmma, and before one that reads registers written since (d or a). A warp group.
__device__ __forceinline__ void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory");
}
// Ends a group of this warp group's products.
__device__ __forceinline__ void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
}
// Until at most kPending groups are under way. Until then nobody touches their registers.
template <int kPending>
__device__ __forceinline__ void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(kPending) : "memory");
}
// Keeps the compiler from moving uses of registers across this point: behind the wgmma_wait that
// covers them.
template <int kCount>
__device__ __forceinline__ void wgmma_arrived(float (&registers)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(registers[i])::"memory");
}

// The product with both operands in shared memory, and with a in registers; kN one of wgmma.h's
// shapes. kAdd false: d is overwritten, whatever it held.
template <int kN, Along kA, Along kB, bool kAdd>
__device__ __forceinline__ void wgmma_ss(float (&d)[kN / 2], std::uint64_t a, std::uint64_t b) {
  Wgmma<kN>::template ss<kAdd, kA == Along::kOuter, kB == Along::kOuter>(d, a, b);
}
template <int kN, Along kB, bool kAdd>
__device__ __forceinline__ void wgmma_rs(float (&d)[kN / 2], const std::uint32_t* a,
                                         std::uint64_t b) {
  Wgmma<kN>::template rs<kAdd, kB == Along::kOuter>(d, a, b);
}

}  // namespace seq1f1b::kernels::cuda
#endif

#pragma once
// The functions of kernels/cuda/device_code/ptx_sm90.h by the PTX ISA manual: see async_proxy.h.
#include <cstdint>
#include <vector>

#include "kernels/cuda/attention/tensor_map.h"
#include "kernels/simt/async_proxy.h"
#include "kernels/simt/ptx.h"

namespace seq1f1b::simt {

// The box of a map at these coordinates, in the box's order, 128-byte swizzled. `Piece` is
// AsyncProxy::Piece or Target; outside the tensor its pointer is null.
template <class Piece>
std::vector<Piece> tensor_pieces(std::uint32_t shared, const kernels::cuda::TensorMap& map,
                                 const int (&coordinates)[4]) {
  const auto& shape = map.shape;
  std::vector<Piece> pieces;
  std::uint32_t offset = 0;
  for (std::uint32_t i3 = 0; i3 < shape.box[3]; ++i3)
    for (std::uint32_t i2 = 0; i2 < shape.box[2]; ++i2)
      for (std::uint32_t i1 = 0; i1 < shape.box[1]; ++i1)
        // Runs of eight elements are what the swizzle moves; the end of a tensor may cut one.
        for (std::uint32_t i0 = 0; i0 < shape.box[0]; i0 += 8, offset += 16) {
          const std::int64_t at[4] = {
              std::int64_t{coordinates[0]} + i0, std::int64_t{coordinates[1]} + i1,
              std::int64_t{coordinates[2]} + i2, std::int64_t{coordinates[3]} + i3};
          bool outer_inside = true;
          std::int64_t element = 0;  // of this row's first
          for (unsigned d = 1; d < 4; ++d) {
            outer_inside =
                outer_inside && at[d] >= 0 && at[d] < static_cast<std::int64_t>(shape.extent[d]);
            element += at[d] * static_cast<std::int64_t>(shape.stride[d - 1]);
          }
          const std::uint32_t logical = shared + offset;
          const std::uint32_t place = logical ^ (logical >> 7 & 7) << 4;
          const auto extent = static_cast<std::int64_t>(shape.extent[0]);
          auto* const row = static_cast<std::uint16_t*>(map.base) + element;
          if (outer_inside && at[0] >= 0 && at[0] + 8 <= extent) {
            pieces.push_back({place, row + at[0], 16});
            continue;
          }
          if (!outer_inside) {
            pieces.push_back({place, nullptr, 16});
            continue;
          }
          for (std::uint32_t e = 0; e < 8; ++e) {
            const std::int64_t first = at[0] + e;
            auto* global = first >= 0 && first < extent ? row + first : nullptr;
            if (!pieces.empty() && e > 0 &&
                (pieces.back().global == nullptr) == (global == nullptr))
              pieces.back().bytes += 2;
            else
              pieces.push_back({place + 2 * e, global, 2});
          }
        }
  return pieces;
}

}  // namespace seq1f1b::simt

namespace seq1f1b::kernels::cuda {

inline void mbarrier_init(std::uint32_t shared, int count, Where where = Where::current()) {
  simt::AsyncProxy::get().init_barrier(shared, count, where);
}
inline void fence_mbarrier_init() { simt::AsyncProxy::get().fence_init(); }
inline void mbarrier_arrive(std::uint32_t shared, Where where = Where::current()) {
  simt::AsyncProxy::get().arrive(shared, 0, where);
}
inline void mbarrier_arrive_expect(std::uint32_t shared, int bytes,
                                   Where where = Where::current()) {
  simt::AsyncProxy::get().arrive(shared, bytes, where);
}
inline void mbarrier_wait(std::uint32_t shared, int parity, Where where = Where::current()) {
  simt::AsyncProxy::get().wait_barrier(shared, parity, where);
}

inline void tma_load_4d(std::uint32_t shared, const TensorMap* map, int c0, int c1, int c2, int c3,
                        std::uint32_t barrier, Where where = Where::current()) {
  simt::current_block().at(shared, 16, 128, where);
  simt::AsyncProxy::get().load(
      simt::tensor_pieces<simt::AsyncProxy::Piece>(shared, *map, {c0, c1, c2, c3}), barrier, where);
}
inline void tma_store_4d(const TensorMap* map, int c0, int c1, int c2, int c3, std::uint32_t shared,
                         Where where = Where::current()) {
  simt::current_block().at(shared, 16, 128, where);
  simt::AsyncProxy::get().store(
      simt::tensor_pieces<simt::AsyncProxy::Target>(shared, *map, {c0, c1, c2, c3}),
      simt::AsyncProxy::Store::kCopy, where);
}
inline void tma_prefetch_map(const TensorMap*) {}

inline void check_bulk(std::uint32_t shared, const void* global, int bytes, const Where& where) {
  if (bytes <= 0 || bytes % 16 != 0 || reinterpret_cast<std::uintptr_t>(global) % 16 != 0)
    simt::current_block().fail("bulk copy whose address or size is not a multiple of 16", where);
  simt::current_block().at(shared, static_cast<std::size_t>(bytes), 16, where);
}
inline void bulk_load(std::uint32_t shared, const void* global, int bytes, std::uint32_t barrier,
                      Where where = Where::current()) {
  check_bulk(shared, global, bytes, where);
  simt::AsyncProxy::get().load({{shared, global, static_cast<std::uint32_t>(bytes)}}, barrier,
                               where);
}
inline void bulk_reduce_add_f32(float* global, std::uint32_t shared, int bytes,
                                Where where = Where::current()) {
  check_bulk(shared, global, bytes, where);
  simt::AsyncProxy::get().store({{shared, global, static_cast<std::uint32_t>(bytes)}},
                                simt::AsyncProxy::Store::kAddF32, where);
}
inline void bulk_commit() { simt::AsyncProxy::get().commit_stores(); }
template <int kPending>
void bulk_wait_read() {
  simt::AsyncProxy::get().wait_stores(kPending);
}
inline void fence_proxy_async() { simt::AsyncProxy::get().fence(); }

template <int kCount>
void take_registers(Where where = Where::current()) {
  static_assert(kCount % 8 == 0 && kCount >= 24 && kCount <= 256);
  simt::AsyncProxy::get().set_registers(kCount, true, where);
}
template <int kCount>
void give_registers(Where where = Where::current()) {
  static_assert(kCount % 8 == 0 && kCount >= 24 && kCount <= 256);
  simt::AsyncProxy::get().set_registers(kCount, false, where);
}
inline void barrier_sync(int id, int threads, Where where = Where::current()) {
  simt::current_block().sync_named(static_cast<unsigned>(id), static_cast<unsigned>(threads),
                                   where);
}
inline void barrier_arrive(int id, int threads, Where where = Where::current()) {
  simt::current_block().arrive_named(static_cast<unsigned>(id), static_cast<unsigned>(threads),
                                     where);
}

enum class Along { kInner, kOuter };

inline std::uint64_t panel_descriptor(std::uint32_t shared, int panel_bytes = 16) {
  return (std::uint64_t{1} << 62) | (std::uint64_t{1024 / 16} << 32) |
         (static_cast<std::uint64_t>(panel_bytes / 16) << 16) | ((shared & 0x3ffffu) >> 4);
}

inline void wgmma_fence(Where where = Where::current()) {
  simt::AsyncProxy::get().fence_products(where);
}
inline void wgmma_commit(Where where = Where::current()) {
  simt::AsyncProxy::get().commit_products(where);
}
template <int kPending>
void wgmma_wait(Where where = Where::current()) {
  simt::AsyncProxy::get().wait_products(kPending, where);
}
template <int kCount>
void wgmma_arrived(float (&)[kCount]) {}

template <int kN, Along kA, Along kB, bool kAdd>
void wgmma_ss(float (&d)[kN / 2], std::uint64_t a, std::uint64_t b,
              Where where = Where::current()) {
  simt::AsyncProxy::get().multiply(
      {kN, kAdd, d, nullptr, a, b, kA == Along::kOuter, kB == Along::kOuter, {}, where});
}
template <int kN, Along kB, bool kAdd>
void wgmma_rs(float (&d)[kN / 2], const std::uint32_t* a, std::uint64_t b,
              Where where = Where::current()) {
  simt::AsyncProxy::get().multiply({kN, kAdd, d, a, 0, b, false, kB == Along::kOuter, {}, where});
}

}  // namespace seq1f1b::kernels::cuda

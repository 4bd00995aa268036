#pragma once
// The functions of kernels/cuda/device_code/ptx.h. Layouts are those of the PTX ISA manual, "Warp
// Level Matrix Instructions" and "Data Movement and Conversion Instructions: cp.async"; a
// misaligned or foreign address is reported.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/common/bf16.h"
#include "kernels/simt/block.h"

namespace seq1f1b::simt {

struct LoadMatrix {
  const std::byte* row;
  std::uint32_t result[4];
};
void complete_load_matrix(const Lanes& lanes);
void complete_load_matrix_transposed(const Lanes& lanes);

struct MultiplyAdd {
  float* d;
  const std::uint32_t* a;
  std::uint32_t b0, b1;
};
void complete_multiply_add(const Lanes& lanes);

// Until they land, the destination is NaN.
void start_copy(std::uint32_t shared, const void* global, bool valid, const Where& where);
void commit_copies();
void wait_copies(std::size_t pending);

}  // namespace seq1f1b::simt

namespace seq1f1b::kernels::cuda {

using simt::Where;

inline std::uint32_t shared_address(const void* pointer, Where where = Where::current()) {
  return simt::current_block().address_of(pointer, where);
}

inline void ldmatrix_x4(std::uint32_t (&r)[4], std::uint32_t shared,
                        Where where = Where::current()) {
  simt::LoadMatrix call{simt::current_block().at(shared, 16, 16, where), {}};
  simt::current_block().meet_warp("ldmatrix", ~0u, &call, &simt::complete_load_matrix, where);
  std::memcpy(r, call.result, sizeof r);
}
inline void ldmatrix_x4_trans(std::uint32_t (&r)[4], std::uint32_t shared,
                              Where where = Where::current()) {
  simt::LoadMatrix call{simt::current_block().at(shared, 16, 16, where), {}};
  simt::current_block().meet_warp("ldmatrix.trans", ~0u, &call,
                                  &simt::complete_load_matrix_transposed, where);
  std::memcpy(r, call.result, sizeof r);
}

inline void mma_bf16_16816(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                           std::uint32_t b1, Where where = Where::current()) {
  simt::MultiplyAdd call{d, a, b0, b1};
  simt::current_block().meet_warp("mma", ~0u, &call, &simt::complete_multiply_add, where);
}

inline void cp_async_16(std::uint32_t shared, const void* global, bool valid,
                        Where where = Where::current()) {
  simt::start_copy(shared, global, valid, where);
}
inline void cp_async_commit() { simt::commit_copies(); }
template <int kPending>
void cp_async_wait() {
  simt::wait_copies(kPending);
}

template <std::size_t kWords>
void store_words(void* global, const std::uint32_t (&words)[kWords], const Where& where) {
  simt::check_alignment(global, sizeof words, where);
  std::memcpy(global, words, sizeof words);
}
inline void store_16(void* global, std::uint32_t x, std::uint32_t y, std::uint32_t z,
                     std::uint32_t w, Where where = Where::current()) {
  store_words(global, {x, y, z, w}, where);
}
inline void store_8(void* global, std::uint32_t x, std::uint32_t y,
                    Where where = Where::current()) {
  store_words(global, {x, y}, where);
}

inline std::uint32_t pack_bf16(float low, float high) {
  return static_cast<std::uint32_t>(Bf16(high).bits) << 16 | Bf16(low).bits;
}
inline float exp2_approx(float x) {
  // ftz: subnormal inputs and results count as zero.
  const float y = std::exp2(std::fpclassify(x) == FP_SUBNORMAL ? 0.0f : x);
  return std::fpclassify(y) == FP_SUBNORMAL ? 0.0f : y;
}

}  // namespace seq1f1b::kernels::cuda

#include "kernels/simt/ptx.h"

#include "kernels/common/errors.h"

namespace seq1f1b::simt {
namespace {

using kernels::Bf16;

float value(std::uint32_t pair, unsigned half) {
  Bf16 element;
  element.bits = static_cast<std::uint16_t>(pair >> (16 * half));
  return static_cast<float>(element);
}

LoadMatrix& load_of(const Lanes& lanes, unsigned lane) {
  return *static_cast<LoadMatrix*>(lanes.arguments[lane]);
}

std::uint16_t element(const Lanes& lanes, unsigned matrix, unsigned row, unsigned column) {
  std::uint16_t bits;
  std::memcpy(&bits, load_of(lanes, 8 * matrix + row).row + 2 * column, sizeof bits);
  return bits;
}

}  // namespace

void complete_load_matrix(const Lanes& lanes) {
  for (unsigned lane = 0; lane < kWarpSize; ++lane)
    for (unsigned matrix = 0; matrix < 4; ++matrix) {
      const unsigned row = lane / 4, column = 2 * (lane % 4);
      load_of(lanes, lane).result[matrix] =
          element(lanes, matrix, row, column) |
          static_cast<std::uint32_t>(element(lanes, matrix, row, column + 1)) << 16;
    }
}

void complete_load_matrix_transposed(const Lanes& lanes) {
  for (unsigned lane = 0; lane < kWarpSize; ++lane)
    for (unsigned matrix = 0; matrix < 4; ++matrix) {
      const unsigned row = 2 * (lane % 4), column = lane / 4;
      load_of(lanes, lane).result[matrix] =
          element(lanes, matrix, row, column) |
          static_cast<std::uint32_t>(element(lanes, matrix, row + 1, column)) << 16;
    }
}

// Gathers both operands as plain matrices, multiplies, and scatters: plain arithmetic on stacks, of
// which the sanitizers need not see each step. Products are exact in fp32;
// they are added in the order of k, which the manual leaves open.
[[gnu::no_sanitize("address", "undefined")]] void complete_multiply_add(const Lanes& lanes) {
  float a[16][16], b[16][8], d[16][8];
  const auto call = [&](unsigned lane) -> MultiplyAdd& {
    return *static_cast<MultiplyAdd*>(lanes.arguments[lane]);
  };
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    const unsigned g = lane / 4, t = lane % 4;
    const MultiplyAdd& c = call(lane);
    for (unsigned i = 0; i < 4; ++i)
      for (unsigned half = 0; half < 2; ++half)
        a[g + 8 * (i % 2)][2 * t + 8 * (i / 2) + half] = value(c.a[i], half);
    for (unsigned half = 0; half < 2; ++half) {
      b[2 * t + half][g] = value(c.b0, half);
      b[2 * t + 8 + half][g] = value(c.b1, half);
      d[g][2 * t + half] = c.d[half];
      d[g + 8][2 * t + half] = c.d[2 + half];
    }
  }
  for (auto row = 0; row < 16; ++row)
    for (auto k = 0; k < 16; ++k)
      for (auto column = 0; column < 8; ++column) d[row][column] += a[row][k] * b[k][column];
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    const unsigned g = lane / 4, t = lane % 4;
    for (unsigned half = 0; half < 2; ++half) {
      call(lane).d[half] = d[g][2 * t + half];
      call(lane).d[2 + half] = d[g + 8][2 * t + half];
    }
  }
}

void start_copy(std::uint32_t shared, const void* global, bool valid, const Where& where) {
  std::byte* to = current_block().at(shared, 16, 16, where);
  if (reinterpret_cast<std::uintptr_t>(global) % 16 != 0)
    current_block().fail("cp.async from a global address that is not a multiple of 16", where);
  std::memset(to, 0xFF, 16);
  current_thread().open_copies.push_back({to, valid ? global : nullptr, 16});
}

void commit_copies() {
  Thread& thread = current_thread();
  thread.copy_groups.push_back(std::move(thread.open_copies));
  thread.open_copies.clear();
}

void wait_copies(std::size_t pending) {
  auto& groups = current_thread().copy_groups;
  while (groups.size() > pending) {
    for (const AsyncCopy& copy : groups.front()) {
      if (copy.from)
        std::memcpy(copy.to, copy.from, copy.bytes);
      else
        std::memset(copy.to, 0, copy.bytes);
    }
    groups.pop_front();
  }
}

}  // namespace seq1f1b::simt

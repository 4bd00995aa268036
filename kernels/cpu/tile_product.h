#pragma once
// Products of small matrices that lie in the caches, for attention: c = a b or c += a b, fp32.
//
// A register block has kBlockRows rows and up to kPanelVectors vectors of columns: 24 accumulators
// of 512 bits (of 32 registers), 12 of 256 or 128 bits (of 16). Each step of the inner index loads
// one row of b and one scalar per row of a. Every element of c is one chain of multiply-adds in
// ascending inner index, whatever the block it falls in, so a row's bits do not depend on the rows
// around it.
#include "kernels/cpu/simd_vector.h"

namespace seq1f1b::kernels::cpu {
namespace {

constexpr std::int64_t kBlockRows = 6;

template <int kNumber>
struct Constant {
  static constexpr int kValue = kNumber;
};

// What a block of rows needs computed: inner indices [inner_begin, inner_end) and vectors of
// columns [vector_begin, vector_end). The rest of c is left as it is.
struct Extent {
  std::int64_t inner_begin, inner_end, vector_begin, vector_end;
};

// a(i, k) = a[i * row + k * inner]
struct Factor {
  const float* data;
  std::int64_t row, inner;
};

template <bool kAdd, int kRows, int kVectors>
SEQ1F1B_SIMD void block_product(Factor a, const float* b, std::int64_t b_stride, float* c,
                                std::int64_t c_stride, std::int64_t begin, std::int64_t end) {
  Vector sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j)
      sum[i][j] = kAdd ? load(c + i * c_stride + j * kWidth) : Vector{};
  for (std::int64_t k = begin; k < end; ++k) {
    Vector row[kVectors];
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) row[j] = load(b + k * b_stride + j * kWidth);
#pragma GCC unroll 8
    for (int i = 0; i < kRows; ++i) {
      const float factor = a.data[i * a.row + k * a.inner];
#pragma GCC unroll 8
      for (int j = 0; j < kVectors; ++j) sum[i][j] += factor * row[j];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 8
    for (int j = 0; j < kVectors; ++j) store(c + i * c_stride + j * kWidth, sum[i][j]);
}

template <bool kAdd, int kRows>
void row_block_product(Factor a, const float* b, std::int64_t b_stride, float* c,
                       std::int64_t c_stride, const Extent& extent) {
  const std::int64_t vectors = extent.vector_end - extent.vector_begin;
  // Panels of near-equal width: a lone vector would leave the multipliers waiting.
  const std::int64_t panels = (vectors + kPanelVectors - 1) / kPanelVectors;
  for (std::int64_t panel = 0; panel < panels; ++panel) {
    const std::int64_t first = extent.vector_begin + panel * vectors / panels;
    const std::int64_t last = extent.vector_begin + (panel + 1) * vectors / panels;
    const auto run = [&](auto count) {
      block_product<kAdd, kRows, decltype(count)::kValue>(a, b + first * kWidth, b_stride,
                                                          c + first * kWidth, c_stride,
                                                          extent.inner_begin, extent.inner_end);
    };
    switch (last - first) {
      case 1:
        run(Constant<1>());
        break;
      case 2:
        run(Constant<2>());
        break;
#if defined(__AVX512F__)
      case 3:
        run(Constant<3>());
        break;
      case 4:
        run(Constant<4>());
        break;
#endif
    }
  }
}

// `extent_of(i, count)` tells the extent of the rows [i, i + count).
template <bool kAdd, class ExtentOf>
void tile_product(std::int64_t rows, Factor a, const float* b, std::int64_t b_stride, float* c,
                  std::int64_t c_stride, const ExtentOf& extent_of) {
  for (std::int64_t i = 0; i < rows; i += kBlockRows) {
    const std::int64_t count = rows - i < kBlockRows ? rows - i : kBlockRows;
    const Extent extent = extent_of(i, count);
    const Factor rows_of_a{a.data + i * a.row, a.row, a.inner};
    float* const rows_of_c = c + i * c_stride;
    const auto run = [&](auto height) {
      row_block_product<kAdd, decltype(height)::kValue>(rows_of_a, b, b_stride, rows_of_c, c_stride,
                                                        extent);
    };
    switch (count) {
      case 1:
        run(Constant<1>());
        break;
      case 2:
        run(Constant<2>());
        break;
      case 3:
        run(Constant<3>());
        break;
      case 4:
        run(Constant<4>());
        break;
      case 5:
        run(Constant<5>());
        break;
      default:
        run(Constant<6>());
        break;
    }
  }
}

}  // namespace
}  // namespace seq1f1b::kernels::cpu

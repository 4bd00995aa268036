#pragma once
// Scratch that the pointwise and reduction kernels take from their Context, and the shares of rows
// and elements that their partial sums are made of. Plain C++: the memory plan needs it without
// CUDA. All of it depends on shapes alone, never on the device, and so do the sums' orders.
#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace seq1f1b::kernels::cuda {

// As Scratch::take rounds.
constexpr std::size_t scratch_piece(std::int64_t bytes) {
  return static_cast<std::size_t>((bytes + 255) / 256 * 256);
}

// Consecutive ranges of equal size, the last one shorter.
struct Shares {
  std::int64_t size, count;
};
// At most `most` shares, of at least `least` each.
constexpr Shares equal_shares(std::int64_t total, std::int64_t least, std::int64_t most) {
  const std::int64_t size = std::max(least, (total + most - 1) / most);
  return {size, (total + size - 1) / size};
}

// Two blocks on each of 132 multiprocessors (H100, H200): enough to fill them where a block has as
// many threads as fit half of one; narrower rows have smaller blocks, so there are more.
inline constexpr std::int64_t kFillingBlocks = 264;

// A block's rows in norm_backward. Fewer than 8 rows would not pay for writing the partial sums.
constexpr Shares norm_shares(std::int64_t rows, std::int64_t width) {
  const std::int64_t most = kFillingBlocks * 4096 / std::max<std::int64_t>(width, 1);
  return equal_shares(rows, 8, std::clamp(most, kFillingBlocks, 8 * kFillingBlocks));
}
constexpr std::size_t norm_backward_scratch_bytes(std::int64_t rows, std::int64_t width) {
  return 2 * scratch_piece(norm_shares(rows, width).count * width * 4);
}

// A block's rows in bias_grad, which takes at most 256 columns.
constexpr Shares bias_shares(std::int64_t rows, std::int64_t width) {
  const std::int64_t tiles = (width + 255) / 256;
  return equal_shares(rows, 64, std::max<std::int64_t>(1, 8 * kFillingBlocks / tiles));
}
constexpr std::size_t bias_grad_scratch_bytes(std::int64_t rows, std::int64_t width) {
  return scratch_piece(bias_shares(rows, width).count * width * 4);
}

// First and last row of every token.
constexpr std::size_t embedding_backward_scratch_bytes(std::int64_t vocab) {
  return 2 * scratch_piece(vocab * 4);
}

// A loss per row.
constexpr std::size_t cross_entropy_scratch_bytes(std::int64_t rows) {
  return scratch_piece(rows * 8);
}

// A block's elements in sum_of_squares.
constexpr Shares square_shares(std::int64_t elements) {
  const std::int64_t size = equal_shares(elements, 16384, 8 * kFillingBlocks).size;
  const std::int64_t whole = (size + 1023) / 1024 * 1024;  // shares begin at whole packets
  return {whole, (elements + whole - 1) / whole};
}
constexpr std::size_t sum_of_squares_scratch_bytes(std::int64_t elements) {
  return scratch_piece(square_shares(elements).count * 8);
}

}  // namespace seq1f1b::kernels::cuda

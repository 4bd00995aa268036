#pragma once
// Tile sizes of the attention kernels: the only place. Nothing here was measured on a GPU.
//
// On mma.sync every value follows from budgets of compute capability 8.0 (CUDA C++ Programming
// Guide, "Compute Capabilities"): 64 Ki registers and 164 KiB of shared memory per multiprocessor,
// 255 registers per thread, 163 KiB per block; 9.0 has as many registers and 227 KiB.
//
// Two facts decide. First, an mma of a 16x8x16 product takes 256 bytes of its right operand from
// shared memory, which gives 128 bytes a cycle, while the tensor cores finish one every two cycles:
// a warp that holds 16 rows is bound by shared memory, one that holds 32 rows (row_tiles = 2) uses
// each right operand twice. So 32 rows wherever the accumulators leave room. Second, four tensor
// cores want at least two warps each, eight per multiprocessor, which caps a thread at 255
// registers and a block of four warps at 82 KiB.
#include <utility>

namespace seq1f1b::kernels::cuda {

struct AttentionTuning {
  int head_dim;   // of the instance; smaller ones are padded to it in shared memory
  int warps;      // per block
  int row_tiles;  // rows that a warp owns, in sixteens
  int step;       // rows of the other side that one step of the loop takes
  int blocks;     // per multiprocessor that registers are bounded for

  constexpr int rows() const { return warps * row_tiles * 16; }
  constexpr int threads() const { return warps * 32; }
};

inline constexpr int kAttentionDims[] = {64, 80, 96, 128, 256};

// Rows are queries, steps are keys. Accumulators per thread: row_tiles (head_dim / 2 + step / 2).
// Shared memory: (rows + 2 step) head_dim bf16.
inline constexpr AttentionTuning kForwardTuning[] = {
    {64, 4, 2, 64, 2},   // 128 accumulators, 32 KiB
    {80, 4, 2, 64, 2},   // 144, 40 KiB
    {96, 4, 2, 64, 2},   // 160, 48 KiB
    {128, 4, 2, 48, 2},  // 176, 56 KiB; 64 keys spill
    {256, 8, 1, 64, 1},  // 160, 128 KiB: 32 rows a warp would need 256 accumulators for the output
};

// Backward over keys: rows are keys, steps are queries. Accumulators: row_tiles (head_dim + step).
// Shared memory: (2 rows + 4 step) head_dim bf16, and step (rows bf16 + 4 fp32) for the one-pass
// variant and the statistics.
inline constexpr AttentionTuning kBackwardKeyTuning[] = {
    {64, 4, 2, 32, 2},   // 192 accumulators, 48 KiB
    {80, 8, 1, 64, 1},   // 144, 80 KiB
    {96, 8, 1, 64, 1},   // 160, 96 KiB
    {128, 8, 1, 64, 1},  // 192, 128 KiB
    {256, 4, 1, 32, 1},  // 160, one gradient at a time, 128 KiB
};

// Backward over queries: rows are queries, steps are keys. Accumulators: row_tiles (head_dim / 2 +
// step). Shared memory: (2 rows + 4 step) head_dim bf16.
inline constexpr AttentionTuning kBackwardQueryTuning[] = {
    {64, 4, 2, 64, 2},   // 192 accumulators, 64 KiB
    {80, 4, 2, 32, 2},   // 144, 60 KiB
    {96, 4, 2, 32, 2},   // 160, 72 KiB
    {128, 8, 1, 64, 1},  // 128, 128 KiB
    {256, 4, 1, 32, 1},  // 160, 128 KiB
};

// ---- Hopper's kernels (wgmma): compute capability 9.0 ----
//
// A warp group computes 64 rows and holds all it computes in registers; a block has two or three
// such warp groups and one that loads, which leaves 240 or 160 registers per thread of the former.
// Of those about 24 hold addresses, bounds and statistics. Products want columns: a 64 x N x 16 one
// reads 2 KiB of its left operand from shared memory and N / 32 KiB of its right one: 16 + N / 4
// cycles at 128 bytes a cycle, while the tensor cores take N / 2. With the left operand in
// registers it is N / 4. So N below 64 starves them, and 96 to 128 leave room for what is loaded
// meanwhile.
using Sm90ForwardDims = std::integer_sequence<int, 64, 80, 96, 128, 256>;
using Sm90BackwardDims = std::integer_sequence<int, 64, 80, 96, 128>;

// Registers: head_dim / 2 of the output, keys / 2 of scores, keys / 4 of exponentials. Shared
// memory, columns in whole panels of 64: (64 consumers + 4 keys) columns bf16, at most 227 KiB.
struct Sm90ForwardTuning {
  int head_dim;
  int consumers;  // warp groups of 64 queries each
  int keys;       // of a tile
};
inline constexpr Sm90ForwardTuning kSm90ForwardTuning[] = {
    {64, 3, 128},   // 128 of 160 registers, 88 KiB
    {80, 3, 112},   // 124, 160 KiB; 128 keys spill
    {96, 3, 112},   // 132, 160 KiB
    {128, 2, 128},  // 160 of 240, 160 KiB
    {256, 2, 64},   // 176, 192 KiB; 80 keys, the most that fit, spill
};

// The instance that serves head_dim: the first that is large enough.
template <class Tuning, int kCount>
constexpr const Tuning& tuning_of(const Tuning (&table)[kCount], int head_dim) {
  int i = 0;
  while (table[i].head_dim < head_dim) ++i;
  return table[i];
}

}  // namespace seq1f1b::kernels::cuda

#pragma once
// What one thread computes of attention, compiled once per instruction set. attention.cpp shares
// the work among threads; attention_tiles.inc holds the method.
#include <cstdint>

#include "kernels/cpu/isa.h"

namespace seq1f1b::kernels::cpu {

// One key head of one sequence with the `group` query heads that read it. Its queries are counted
// in rows: row r is head r % group of token r / group, so that neighbouring rows have neighbouring
// positions and share keys. All pointers are to the first element of this head and sequence; T is
// what compute tensors are stored in.
template <class T>
struct AttentionHead {
  std::int64_t tokens = 0, group = 0, head_dim = 0;
  std::int64_t token_stride =
      0;  // elements from a token to the next in query, output and gradients
  // The token i sees the keys j < key_length with document_start[i] <= key_start + j <= query_start
  // + i.
  std::int64_t query_start = 0, key_start = 0, key_length = 0;
  const std::int32_t* document_start = nullptr;  // [tokens]; null: 0 everywhere
  float scale = 0;

  const T* query = nullptr;
  const T* key = nullptr;        // [key_length, head_dim]
  const T* value = nullptr;      // [key_length, head_dim]
  T* output = nullptr;           // written by forward, read by backward
  float* log_sum_exp = nullptr;  // [group, tokens]; likewise

  // Of the backward only.
  const T* grad_output = nullptr;
  T* grad_query = nullptr;
  float* grad_key = nullptr;    // [key_length, head_dim]
  float* grad_value = nullptr;  // [key_length, head_dim]
  bool overwrite = false;       // grad_key and grad_value; else they are added to
};

inline constexpr std::int64_t kQueryTile = 64;  // rows

template <class T>
struct AttentionTiles {
  // Floats of 64-byte aligned scratch that either function needs.
  std::int64_t (*scratch_floats)(std::int64_t head_dim);
  // The rows [tile * kQueryTile, ...) of one head.
  void (*forward)(const AttentionHead<T>&, std::int64_t tile, float* scratch);
  // All rows of one head, in ascending order.
  void (*backward)(const AttentionHead<T>&, float* scratch);
};

// The functions compiled for `isa`, which must be available. Instantiated in attention_tiles.inc.
template <class T>
const AttentionTiles<T>& attention_tiles(Isa isa);

}  // namespace seq1f1b::kernels::cpu

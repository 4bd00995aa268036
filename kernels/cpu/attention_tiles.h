#pragma once
// Attention of one tile of queries of one head, in fp32 on one thread, compiled once per instruction
// set. attention.cpp shares the tiles among threads.
#include <cstdint>

#include "kernels/cpu/isa.h"

namespace seq1f1b::kernels::cpu {

// One head of one sequence. Strides are in elements; rows of key and value are contiguous.
struct HeadView {
  std::int64_t head_dim = 0;
  std::int64_t query_stride = 0;  // between rows of query, output and their gradients
  const float* key = nullptr;     // [key_length, head_dim]
  const float* value = nullptr;
  std::int64_t key_length = 0;
  std::int64_t key_start = 0;    // absolute position of key row 0
  std::int64_t query_start = 0;  // absolute position of query row 0
  const std::int32_t* document_start = nullptr;  // by query row, or null
  float scale = 1;
};

struct ForwardTile {
  const float* query;  // row 0 of the head
  float* output;
  float* log_sum_exp;  // [tokens]
};
struct BackwardTile {
  const float *query, *output, *grad_output;
  const float* log_sum_exp;
  float* grad_query;
  float *grad_key, *grad_value;  // [key_length, head_dim], added to
};

struct AttentionTiles {
  std::int64_t queries;  // rows of a tile
  // Floats of scratch per thread, aligned to 64 bytes.
  std::int64_t (*scratch_floats)(std::int64_t head_dim);
  // Rows [first, first + rows) with rows <= queries.
  void (*forward)(const HeadView&, const ForwardTile&, std::int64_t first, std::int64_t rows,
                  float* scratch);
  void (*backward)(const HeadView&, const BackwardTile&, std::int64_t first, std::int64_t rows,
                   float* scratch);
};

const AttentionTiles& attention_tiles(Isa isa);

}  // namespace seq1f1b::kernels::cpu

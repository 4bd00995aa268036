#pragma once
// Who sees whom, for one sequence of a problem: the only place of the mask arithmetic, in host and
// device code. Keys are counted by their row in memory: row j holds the position key_start + j.
//
// A query sees the rows [first_key, last_key), never none. Both bounds grow along the queries, so a
// tile of queries sees from its first query's first_key to its last query's last_key, and the
// queries that see a tile of keys are a range, too.
#include <cstdint>

#include "kernels/common/bf16.h"
#include "kernels/cuda/attention/attention.h"

namespace seq1f1b::kernels::cuda {

struct TileRange {
  int begin, end;
};

struct AttentionMask {
  int tokens, key_length;
  int offset;     // query_start - key_start: query i sits at row i + offset of the keys
  int key_start;  // what a document start is counted from
  const std::int32_t* document_start;  // of this sequence, or null

  SEQ1F1B_HOST_DEVICE AttentionMask(const AttentionShape& shape, int sequence)
      : tokens(shape.tokens),
        key_length(shape.key_length),
        offset(shape.query_start - shape.key_start),
        key_start(shape.key_start),
        document_start(shape.document_start ? shape.document_start +
                                                  static_cast<std::int64_t>(sequence) * shape.tokens
                                            : nullptr) {}

  // Queries beyond the last one (the ragged end of a tile) see what the last one sees.
  SEQ1F1B_HOST_DEVICE int first_key(int query) const {
    if (!document_start) return 0;
    const int start = document_start[query < tokens ? query : tokens - 1] - key_start;
    return start > 0 ? start : 0;
  }
  SEQ1F1B_HOST_DEVICE int last_key(int query) const {
    const int last = offset + (query < tokens ? query : tokens - 1) + 1;
    return last < key_length ? last : key_length;
  }

  // Tiles of `keys` rows that some query of [query, query + queries) sees.
  SEQ1F1B_HOST_DEVICE TileRange key_tiles(int query, int queries, int keys) const {
    return {first_key(query) / keys, (last_key(query + queries - 1) + keys - 1) / keys};
  }
  // The rows of keys that every query of the tile sees: a tile of keys within needs no mask.
  SEQ1F1B_HOST_DEVICE TileRange seen_by_all(int query, int queries) const {
    return {first_key(query + queries - 1), last_key(query)};
  }
  // Whether every query of the tile sees every key of the tile.
  SEQ1F1B_HOST_DEVICE bool all_visible(int query, int queries, int key, int keys) const {
    const TileRange seen = seen_by_all(query, queries);
    return seen.begin <= key && key + keys <= seen.end;
  }

  // The queries that see some key of the rows [key, key + keys): none where begin >= end.
  SEQ1F1B_HOST_DEVICE TileRange queries_of(int key, int keys) const {
    const int last = key + keys < key_length ? key + keys : key_length;
    return {key > offset ? key - offset : 0, queries_before(last)};
  }
  // The queries that see all of them.
  SEQ1F1B_HOST_DEVICE TileRange queries_of_all(int key, int keys) const {
    if (key + keys > key_length) return {0, 0};
    const int begin = key + keys - 1 - offset;
    return {begin > 0 ? begin : 0, queries_before(key + 1)};
  }
  // How many queries have a document that begins before row `key` of the keys.
  SEQ1F1B_HOST_DEVICE int queries_before(int key) const {
    if (!document_start) return tokens;
    int low = 0, high = tokens;
    while (low < high) {
      const int middle = low + (high - low) / 2;
      if (first_key(middle) >= key)
        high = middle;
      else
        low = middle + 1;
    }
    return low;
  }
};

}  // namespace seq1f1b::kernels::cuda

#pragma once
// Ranks in messages for people.
#include <string>

#include "kernels/common/errors.h"

namespace seq1f1b::comm {

// "rank 1" or "ranks 0, 3".
template <class Ranks>
std::string rank_names(const Ranks& ranks) {
  std::string text = ranks.size() == 1 ? "rank" : "ranks";
  const char* separator = " ";
  for (const int rank : ranks) {
    text += concat(separator, rank);
    separator = ", ";
  }
  return text;
}

}  // namespace seq1f1b::comm

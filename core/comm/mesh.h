#pragma once
// The grid of ranks (dp, pp, cp, tp), tp fastest: rank = ((dp * PP + pp) * CP + cp) * TP + tp.
#include "kernels/common/errors.h"

namespace seq1f1b::comm {

struct Mesh {
  int tp = 1, cp = 1, pp = 1, dp = 1;

  struct Coordinate {
    int tp = 0, cp = 0, pp = 0, dp = 0;
  };
  int size() const { return tp * cp * pp * dp; }
  int rank_of(const Coordinate& at) const {
    return ((at.dp * pp + at.pp) * cp + at.cp) * tp + at.tp;
  }
  Coordinate coordinate_of(int rank) const {
    SEQ1F1B_ASSERT(rank >= 0 && rank < size(), "rank ", rank, " outside the mesh");
    return {.tp = rank % tp,
            .cp = rank / tp % cp,
            .pp = rank / (tp * cp) % pp,
            .dp = rank / (tp * cp * pp)};
  }
};

}  // namespace seq1f1b::comm

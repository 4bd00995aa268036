#pragma once
// Cosines and sines of the rotary angles, computed once per position and setting.
#include <cstddef>
#include <cstdint>
#include <deque>
#include <vector>

#include "kernels/ops.h"

namespace seq1f1b::kernels::cpu {

class RotaryTable {
 public:
  explicit RotaryTable(const Rotary& rotary);
  bool serves(const Rotary& rotary) const {
    return rotary.dimensions == 2 * half_ && rotary.base == base_;
  }
  // Computes what is missing below `positions`.
  void reach(std::int64_t positions);
  const float* cosine(std::int64_t position) const { return turns_.data() + position * 2 * half_; }
  const float* sine(std::int64_t position) const { return cosine(position) + half_; }
  std::size_t bytes() const { return turns_.capacity() * sizeof(float); }

 private:
  double base_;
  std::int64_t half_;
  std::vector<double> frequencies_;
  std::vector<float> turns_;  // [positions, 2, half]
};

// One table per setting in use; a model has one or two.
class RotaryTables {
 public:
  // The table of this setting, reaching to at least `positions`. rotary.dimensions > 0.
  const RotaryTable& table(const Rotary& rotary, std::int64_t positions);
  std::size_t bytes() const;

 private:
  std::deque<RotaryTable> tables_;
};

}  // namespace seq1f1b::kernels::cpu

#include "kernels/cpu/rotary_table.h"

#include <cmath>

namespace seq1f1b::kernels::cpu {

RotaryTable::RotaryTable(const Rotary& rotary) : base_(rotary.base), half_(rotary.dimensions / 2) {
  for (std::int64_t i = 0; i < half_; ++i)
    frequencies_.push_back(
        std::pow(rotary.base, -2.0 * static_cast<double>(i) / rotary.dimensions));
}

// Angles in fp64: at position 1e5 an fp32 angle has lost the last three digits of its fraction.
void RotaryTable::reach(std::int64_t positions) {
  const auto done = static_cast<std::int64_t>(turns_.size()) / (2 * half_);
  if (positions <= done) return;
  turns_.resize(static_cast<std::size_t>(positions * 2 * half_));
  for (std::int64_t position = done; position < positions; ++position) {
    float* row = turns_.data() + position * 2 * half_;
    for (std::int64_t i = 0; i < half_; ++i) {
      const double angle =
          static_cast<double>(position) * frequencies_[static_cast<std::size_t>(i)];
      row[i] = static_cast<float>(std::cos(angle));
      row[half_ + i] = static_cast<float>(std::sin(angle));
    }
  }
}

const RotaryTable& RotaryTables::table(const Rotary& rotary, std::int64_t positions) {
  for (RotaryTable& table : tables_) {
    if (!table.serves(rotary)) continue;
    table.reach(positions);
    return table;
  }
  tables_.emplace_back(rotary).reach(positions);
  return tables_.back();
}

std::size_t RotaryTables::bytes() const {
  std::size_t bytes = 0;
  for (const RotaryTable& table : tables_) bytes += table.bytes();
  return bytes;
}

}  // namespace seq1f1b::kernels::cpu

#pragma once
// Which documents train and which are held out.
#include <array>
#include <cstdint>

namespace seq1f1b::data {

enum class Split : std::uint8_t { kTrain = 0, kValidation = 1, kTest = 2 };

// Proportions by Split, not all of them 0.
using SplitProportions = std::array<double, 3>;

// The bounds of the shares among `documents`, share i holding [bounds[i], bounds[i + 1]). Rounded
// from the running sums of the proportions, so that no document is lost.
std::array<std::int64_t, 4> split_bounds(const SplitProportions& proportions,
                                         std::int64_t documents);

}  // namespace seq1f1b::data

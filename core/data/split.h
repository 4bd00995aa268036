#pragma once
#include <array>
#include <cstdint>
#include <string>

namespace seq1f1b::data {

// "949,50,1": the bounds of the shares among `documents`, share i holding [bounds[i], bounds[i +
// 1]). Bounds are rounded from the running sums of the weights; missing weights are 0. Throws
// ConfigError.
std::array<std::int64_t, 4> split_bounds(const std::string& split, std::int64_t documents);

}  // namespace seq1f1b::data

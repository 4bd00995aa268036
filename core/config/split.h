#pragma once
// data.split as numbers: the one reader of that text.
#include <array>
#include <string>

namespace seq1f1b::config {

// "949,50,1": the shares of training, validation and test. Throws ConfigError unless there are
// three, not negative, with something left for training.
std::array<double, 3> split_proportions(const std::string& split);

}  // namespace seq1f1b::config

#include "core/data/split.h"

#include <cmath>
#include <sstream>

#include "kernels/common/errors.h"

namespace seq1f1b::data {
namespace {

std::array<double, 3> parse_weights(const std::string& split) {
  const auto refuse = [&split](const char* why) {
    throw ConfigError(concat("data.split: '", split, "' ", why,
                             "; give the shares of training, validation and test as 949,50,1"));
  };
  std::array<double, 3> weights{};
  std::istringstream stream(split);
  stream.imbue(std::locale::classic());
  std::size_t count = 0;
  for (char comma = ','; comma == ',';) {
    if (count == weights.size()) refuse("has more than three numbers");
    if (!(stream >> weights[count])) refuse("is not a list of numbers");
    if (!std::isfinite(weights[count]) || weights[count] < 0) refuse("has a negative share");
    ++count;
    comma = '\0';
    if (stream >> comma && comma != ',') refuse("is not a list of numbers");
  }
  if (!(weights[0] + weights[1] + weights[2] > 0)) refuse("leaves nothing");
  return weights;
}

}  // namespace

std::array<std::int64_t, 4> split_bounds(const std::string& split, std::int64_t documents) {
  const auto weights = parse_weights(split);
  const double total = weights[0] + weights[1] + weights[2];
  std::array<std::int64_t, 4> bounds{0, 0, 0, documents};
  double sum = 0;
  for (std::size_t i = 0; i < 2; ++i) {
    sum += weights[i];
    bounds[i + 1] = std::llround(sum / total * static_cast<double>(documents));
  }
  return bounds;
}

}  // namespace seq1f1b::data

#include "core/config/split.h"

#include <cmath>
#include <locale>
#include <sstream>

#include "kernels/common/errors.h"

namespace seq1f1b::config {

std::array<double, 3> split_proportions(const std::string& split) {
  std::array<double, 3> shares{};
  std::istringstream text(split);
  text.imbue(std::locale::classic());
  bool legal = true;
  for (std::size_t i = 0; i < shares.size(); ++i) {
    char comma = ',';
    legal = legal && (i == 0 || ((text >> comma) && comma == ',')) && (text >> shares[i]) &&
            shares[i] >= 0 && std::isfinite(shares[i]);
  }
  if (!legal || !(text >> std::ws).eof() || shares[0] <= 0)
    throw ConfigError(concat("data.split \"", split,
                             "\" must be three shares, for training (above 0), validation and "
                             "test, like \"949,50,1\""));
  return shares;
}

}  // namespace seq1f1b::config

#pragma once
// Everything that is wrong with a configuration, reported together.
#include <string>
#include <utility>
#include <vector>

#include "core/base/text.h"
#include "kernels/common/errors.h"

namespace seq1f1b::config {

class Problems {
 public:
  template <class... Parts>
  void add(const Parts&... parts) {
    texts_.push_back(concat(parts...));
  }
  bool empty() const { return texts_.empty(); }

  // One ConfigError with all of them, if there is any.
  void throw_if_any() const {
    if (texts_.empty()) return;
    if (texts_.size() == 1) throw ConfigError(texts_.front());
    throw ConfigError(concat("the configuration has ", texts_.size(), " problems:\n  ",
                             base::join(texts_, "\n  ")));
  }

 private:
  std::vector<std::string> texts_;
};

}  // namespace seq1f1b::config

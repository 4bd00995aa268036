#pragma once
// Everything that is wrong with a configuration, reported together.
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/base/text.h"
#include "core/config/load.h"
#include "kernels/common/errors.h"

namespace seq1f1b::config {

class Problems {
 public:
  template <class... Parts>
  void add(const Parts&... parts) {
    texts_.push_back(concat(parts...));
  }
  // Says of each problem which of the keys that it names the command line has set: nobody finds
  // them in the file.
  void tell_overrides(const Origins& origins) {
    for (std::string& text : texts_) {
      std::vector<std::string> keys;
      for (const auto& [key, origin] : origins)
        if (origin == kCommandLine && names(text, key)) keys.push_back(key);
      if (!keys.empty()) text += concat(" (command line: ", base::join(keys), ")");
    }
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
  static bool names(const std::string& text, const std::string& key) {
    constexpr const char* kLetters = "abcdefghijklmnopqrstuvwxyz_0123456789";
    for (std::size_t at = text.find(key); at != std::string::npos; at = text.find(key, at + 1)) {
      const std::size_t end = at + key.size();
      if (end == text.size() ||
          std::string_view(kLetters).find(text[end]) == std::string_view::npos)
        return true;
    }
    return false;
  }

  std::vector<std::string> texts_;
};

}  // namespace seq1f1b::config

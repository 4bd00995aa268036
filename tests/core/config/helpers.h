#pragma once
#include <string>
#include <vector>

#include "core/config/load.h"
#include "kernels/common/errors.h"

namespace seq1f1b::config {

// The message of the ConfigError that `action` throws; "no error" when it throws none.
template <class Action>
std::string config_error(const Action& action) {
  try {
    action();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

inline std::string load_error(const std::string& text,
                              const std::vector<std::string>& overrides = {}) {
  return config_error([&] { load_text(text, "run.yaml", overrides); });
}

// Loaded from nothing but overrides, and resolved.
inline Loaded resolved(const std::vector<std::string>& overrides) {
  Loaded loaded = load_text("{}", "run.yaml", overrides);
  resolve(loaded);
  return loaded;
}

inline std::string validate_error(const std::vector<std::string>& overrides, int world_size = 0) {
  return config_error([&] { validate(resolved(overrides).config, world_size); });
}

}  // namespace seq1f1b::config

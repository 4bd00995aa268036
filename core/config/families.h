#pragma once
// The model families: what they choose where a configuration leaves a key marked (family) open.
#include <algorithm>
#include <iterator>
#include <string>
#include <vector>

namespace seq1f1b::config {

struct Family {
  const char* name;
  const char *normalization, *position_embedding, *activation, *add_bias_linear, *tie_embeddings;
};
// Brown et al. 2020 (arXiv 2005.14165), after GPT-2; Touvron et al. 2023 (arXiv 2302.13971).
inline constexpr Family kFamilies[] = {
    {"gpt3", "layernorm", "learned", "gelu", "true", "true"},
    {"llama", "rmsnorm", "rotary", "swiglu", "false", "false"},
};

inline std::vector<std::string> family_names() {
  std::vector<std::string> names;
  for (const Family& family : kFamilies) names.emplace_back(family.name);
  return names;
}

// Null where there is none of the name.
inline const Family* find_family(const std::string& name) {
  const auto* const found =
      std::ranges::find_if(kFamilies, [&](const Family& family) { return family.name == name; });
  return found == std::end(kFamilies) ? nullptr : found;
}

}  // namespace seq1f1b::config

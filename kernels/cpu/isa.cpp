#include "kernels/cpu/isa.h"

#include <cstdlib>

#include "kernels/common/errors.h"

namespace seq1f1b::kernels::cpu {

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kBaseline:
      return "baseline";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
  }
  return "?";
}

bool isa_available(Isa isa) {
#if defined(__x86_64__)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (isa == Isa::kAvx2) return avx2;
  if (isa == Isa::kAvx512)
    return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
#endif
  return isa == Isa::kBaseline;
}

Isa best_isa() {
  Isa best = Isa::kBaseline;
  for (Isa isa : kAllIsas)
    if (isa_available(isa)) best = isa;
  return best;
}

std::optional<Isa> parse_isa(std::string_view name) {
  for (Isa isa : kAllIsas)
    if (name == isa_name(isa)) return isa;
  return std::nullopt;
}

Isa choose_isa(const std::string& name) {
  constexpr const char* kVariable = "SEQ1F1B_INSTRUCTION_SET";
  std::string source = "runtime.instruction_set", wanted = name;
  if (wanted == "auto") {
    const char* const set = std::getenv(kVariable);
    if (set == nullptr || *set == '\0' || std::string_view(set) == "auto") return best_isa();
    source = kVariable;
    wanted = set;
  }
  const std::optional<Isa> isa = parse_isa(wanted);
  if (!isa)
    throw ConfigError(
        concat(source, " is \"", wanted, "\": expected auto, avx512, avx2 or baseline"));
  if (!isa_available(*isa))
    throw ConfigError(concat(source, " is ", wanted,
                             ", which this processor lacks; the best it has is ",
                             isa_name(best_isa())));
  return *isa;
}

}  // namespace seq1f1b::kernels::cpu

#pragma once
// The instruction sets that hot loops are compiled for; the program itself is built for the
// baseline.
#include <optional>
#include <string>
#include <string_view>

namespace seq1f1b::kernels::cpu {

enum class Isa { kBaseline, kAvx2, kAvx512 };  // kAvx2 includes FMA; kAvx512: F, BW, DQ, VL

inline constexpr Isa kAllIsas[] = {Isa::kBaseline, Isa::kAvx2, Isa::kAvx512};

const char* isa_name(Isa isa);
// Whether this processor and this build have it.
bool isa_available(Isa isa);
Isa best_isa();
// The one that isa_name calls so.
std::optional<Isa> parse_isa(std::string_view name);
// What `name` asks for: "auto" is best_isa(), or what the environment variable
// SEQ1F1B_INSTRUCTION_SET names. Throws ConfigError for another name, or what this processor lacks.
Isa choose_isa(const std::string& name = "auto");

}  // namespace seq1f1b::kernels::cpu

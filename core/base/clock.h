#pragma once
// Time for people and for measuring.
#include <string>

namespace seq1f1b::base {

double monotonic_seconds();  // since an arbitrary start; never goes back
std::string utc_text();      // now, "2025-01-31T12:34:56Z"

}  // namespace seq1f1b::base

#pragma once
// How many processors this process may use.

namespace seq1f1b::base {

// By the affinity mask, which launchers and containers set; at least 1.
int available_cores();

}  // namespace seq1f1b::base

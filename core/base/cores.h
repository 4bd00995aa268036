#pragma once
// Which processors this process may use, and who shares them.
#include <span>
#include <string>
#include <vector>

namespace seq1f1b::base {

// By the affinity mask, which launchers and containers set; at least 1.
int available_cores();

// The host's name and the processors of the affinity mask, to be compared with those of other
// processes: "node3 0-7,16-23".
std::string core_set();

// What a process gets of its processors.
struct CoreShare {
  int cores = 1;      // that it may use
  int processes = 1;  // that may use one of them, itself included
  // Its even share, at least 1: all cores where the launcher gave each process cores of its own.
  int threads() const { return processes < cores ? cores / processes : 1; }
};
// By process, from the core_set() of each. Pure.
std::vector<CoreShare> share_cores(std::span<const std::string> core_sets);

}  // namespace seq1f1b::base

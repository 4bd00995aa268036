#pragma once
// Counts allocations of 64 KiB or more in the whole process, by standing in front of malloc. A test
// executable that uses it compiles large_mallocs.cpp itself and exports its symbols.
#include <cstddef>

namespace seq1f1b::testing {

struct LargeMallocs {
  long count = 0;
  std::size_t largest = 0;
};
bool counting_large_mallocs_works();  // not under sanitizers
void start_counting_large_mallocs();
LargeMallocs stop_counting_large_mallocs();

}  // namespace seq1f1b::testing

#pragma once
// The back ends that a test executable runs its bodies on: one source file per executable says
// which.
#include <functional>
#include <string>
#include <vector>

#include "kernels/device.h"

namespace seq1f1b::kernels::testing {

struct NamedBackend {
  std::string name;
  std::function<Backend()> make;
  bool same_bits_as_previous = false;  // thread counts
  bool repeatable = true;              // the same bits each time
};

// May be empty where there is no such device; the executable then says so.
std::vector<NamedBackend> back_ends_under_test();

}  // namespace seq1f1b::kernels::testing

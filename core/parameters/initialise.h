#pragma once
// Initial weights as a function of (seed, canonical name, element): equal under every layout.
#include <cstdint>

#include "core/parameters/store.h"

namespace seq1f1b::parameters {

// Value of one element of a row, before rounding to the weight's type.
double initial_value(const ParameterInfo& row, std::uint64_t seed, std::int64_t element);

// Writes all weights of the store and, when training, their masters and zeros into both moments.
// `threads` of the host draw the values and change none of them.
void initialise(const Store& store, std::uint64_t seed, kernels::Device& device, kernels::Ops& ops,
                int threads = 1);

}  // namespace seq1f1b::parameters

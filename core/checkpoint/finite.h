#pragma once
// Whether stored numbers are numbers.
#include <cstddef>
#include <optional>

#include "core/checkpoint/safetensors.h"

namespace seq1f1b::checkpoint {

// The first element that is infinite or not a number; nothing in types that have none.
std::optional<std::size_t> first_not_finite(const StoredTensor& tensor);

}  // namespace seq1f1b::checkpoint

#pragma once
// Which types a device computes in: the one table behind validation, plan and back end.
#include <span>
#include <string>

#include "core/config/config.h"

namespace seq1f1b::config {

// Names as of runtime.compute_dtype, the device's own choice first; empty for an unknown device.
// `auto` is not chosen yet: whatever the processor or a GPU computes in.
std::span<const std::string> compute_dtypes(const std::string& device);

// runtime.compute_dtype, with the device's own choice for auto.
std::string compute_dtype(const RuntimeConfig& runtime);

}  // namespace seq1f1b::config

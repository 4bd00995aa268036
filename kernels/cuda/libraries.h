#pragma once
#include <string>

namespace seq1f1b::kernels::cuda {

// Module::libraries.
std::string libraries();

}  // namespace seq1f1b::kernels::cuda

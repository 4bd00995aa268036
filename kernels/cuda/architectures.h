#pragma once
// Which of the architectures that the kernels were compiled for runs on a device: plain host code.
#include <string_view>

namespace seq1f1b::kernels::cuda {

// `built` lists what CMake's CUDA_ARCHITECTURES takes, with commas: "80-real,90a-real". The
// architecture whose kernels a device of compute capability major.minor gets, as a launcher chooses
// by it (Context::architecture): 90 where code with the features of 9.0 alone (90a) was built and
// the device is one, else 80; 0 where no code runs there. Machine code runs within its major
// version from its minor version on, PTX ("-virtual" or no ending) from its version on, "a" code on
// its own version alone (CUDA C++ programming guide, "Application compatibility").
int kernel_architecture(std::string_view built, int major, int minor);

}  // namespace seq1f1b::kernels::cuda

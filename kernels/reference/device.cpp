#include "kernels/common/host_device.h"
#include "kernels/reference/reference_ops.h"

namespace seq1f1b::kernels {

Backend make_reference_backend(Dtype compute) {
  Backend backend;
  backend.name = "reference";
  backend.compute = compute;
  backend.accumulate = compute == Dtype::kF64 ? Dtype::kF64 : Dtype::kF32;
  backend.ops = reference::make_reference_ops(compute);
  backend.device =
      std::make_unique<HostDevice>(concat("CPU, 1 thread, plain C++ in ", dtype_name(compute)));
  return backend;
}

}  // namespace seq1f1b::kernels

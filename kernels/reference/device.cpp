#include "kernels/common/host_device.h"
#include "kernels/reference/reference_ops.h"

namespace seq1f1b::kernels {

Backend make_reference_backend(Dtype dtype) {
  Backend backend;
  backend.name = "reference";
  backend.compute = backend.accumulate = dtype;
  backend.ops = reference::make_reference_ops(dtype);
  backend.device =
      std::make_unique<HostDevice>(concat("CPU, 1 thread, plain C++ in ", dtype_name(dtype)));
  return backend;
}

}  // namespace seq1f1b::kernels

#include "kernels/common/host_device.h"
#include "kernels/cpu/cpu_ops.h"

namespace seq1f1b::kernels {

std::string cpu_instruction_set(const std::string& wanted) {
  return cpu::isa_name(cpu::choose_isa(wanted));
}

Backend make_cpu_backend(int threads, const std::string& instruction_set) {
  const cpu::Isa isa = cpu::choose_isa(instruction_set);
  Backend backend;
  backend.name = "cpu";
  backend.compute = backend.accumulate = Dtype::kF32;
  backend.ops = cpu::make_cpu_ops(threads, isa);
  backend.device = std::make_unique<HostDevice>(
      concat("CPU, ", threads, threads == 1 ? " thread, " : " threads, ", cpu::isa_name(isa)));
  return backend;
}

}  // namespace seq1f1b::kernels

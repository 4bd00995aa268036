// Reference fp32 and bf16, cpu with 1, 2 and 3 threads, cpu with every other instruction set.
#include "kernels/common/errors.h"
#include "kernels/cpu/cpu_ops.h"
#include "tests/kernels/back_ends.h"

namespace seq1f1b::kernels::testing {

std::vector<NamedBackend> back_ends_under_test() {
  std::vector<NamedBackend> list;
  for (Dtype compute : {Dtype::kF32, Dtype::kBf16})
    list.push_back({concat("reference ", dtype_name(compute)),
                    [compute] { return make_reference_backend(compute); }});
  for (int threads : {1, 2, 3})
    list.push_back({concat("cpu, ", threads, " threads"),
                    [threads] { return make_cpu_backend(threads); }, threads > 1});
  for (cpu::Isa isa : cpu::kAllIsas)
    if (cpu::isa_available(isa) && isa != cpu::choose_isa())
      list.push_back({concat("cpu, ", cpu::isa_name(isa)),
                      [isa] { return make_cpu_backend(2, cpu::isa_name(isa)); }});
  return list;
}

}  // namespace seq1f1b::kernels::testing

// The CUDA back end on the emulated device (kernels/simt): both compute types with the kernels of
// both architectures, and once with sums in any order.
#include <memory>

#include "kernels/common/errors.h"
#include "kernels/ops.h"
#include "kernels/simt/emulated_backend.h"
#include "tests/kernels/back_ends.h"

namespace seq1f1b::kernels::testing {

std::vector<NamedBackend> back_ends_under_test() {
  std::vector<NamedBackend> list;
  const auto add = [&](Dtype compute, int architecture, bool deterministic) {
    simt::EmulatedOptions options;
    options.compute = compute;
    options.architecture = architecture;
    options.deterministic = deterministic;
    NamedBackend named;
    named.name = concat("emulated CUDA, sm_", architecture, ", ", dtype_name(compute),
                        deterministic ? "" : ", sums in any order");
    named.make = [options] { return simt::make_emulated_backend(options); };
    named.repeatable = deterministic;
    list.push_back(std::move(named));
  };
  add(Dtype::kF32, 80, true);
  add(Dtype::kBf16, 80, true);
  add(Dtype::kBf16, 80, false);
  add(Dtype::kBf16, 90, true);
  return list;
}

}  // namespace seq1f1b::kernels::testing

#include "core/parameters/initialise.h"

#include <vector>

#include "kernels/common/errors.h"
#include "kernels/common/philox.h"
#include "kernels/ops.h"

namespace seq1f1b::parameters {
namespace {

template <class T>
void write_row(const Store& store, const LocalRow& local, std::uint64_t seed,
               kernels::Device& device) {
  std::vector<T> host(static_cast<std::size_t>(local.row.elements()));
  for (std::size_t i = 0; i < host.size(); ++i)
    host[i] = static_cast<T>(initial_value(local.row, seed, static_cast<std::int64_t>(i)));
  const kernels::Tensor weight = store.weight(local);
  device.upload(weight.data, host.data(), weight.bytes());
}

}  // namespace

double initial_value(const Row& row, std::uint64_t seed, std::int64_t element) {
  switch (row.law) {
    case Law::kZeros:
      return 0.0;
    case Law::kOnes:
      return 1.0;
    case Law::kNormal:
      return row.standard_deviation * kernels::philox_normal(kernels::name_key(row.name, seed),
                                                             static_cast<std::uint64_t>(element));
  }
  return 0.0;
}

void initialise(const Store& store, std::uint64_t seed, kernels::Device& device,
                kernels::Ops& ops) {
  for (const LocalRow& local : store.layout().rows()) {
    switch (store.weight(local).dtype) {
      case kernels::Dtype::kF64:
        write_row<double>(store, local, seed, device);
        break;
      case kernels::Dtype::kF32:
        write_row<float>(store, local, seed, device);
        break;
      default:
        throw InternalError("weights of this type cannot be initialised yet");
    }
  }
  if (store.purpose() == Purpose::kTraining) ops.fill(store.all_moments(), 0.0);
}

}  // namespace seq1f1b::parameters

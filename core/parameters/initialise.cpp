#include "core/parameters/initialise.h"

#include <type_traits>
#include <vector>

#include "core/base/parallel.h"
#include "kernels/common/bf16.h"
#include "kernels/common/errors.h"
#include "kernels/common/philox.h"
#include "kernels/ops.h"

namespace seq1f1b::parameters {
namespace {

// A draw takes some 60 ns: this many are worth a thread.
constexpr std::int64_t kSmallestPiece = 16384;

double value_of(const ParameterInfo& row, std::uint64_t key, std::int64_t element) {
  switch (row.initializer) {
    case Initializer::kZeros:
      return 0.0;
    case Initializer::kOnes:
      return 1.0;
    case Initializer::kNormal:
      return row.standard_deviation *
             kernels::philox_normal(key, static_cast<std::uint64_t>(element));
  }
  return 0.0;
}

template <class T>
void write_row(const Store& store, const LocalParameter& local, std::uint64_t seed,
               kernels::Device& device, int threads) {
  std::vector<T> host(static_cast<std::size_t>(local.info.elements()));
  // By way of fp32 where that is wider than T, so that a bf16 weight is its fp32 master rounded.
  using Wide = std::conditional_t<sizeof(T) == 8, double, float>;
  const std::uint64_t key = kernels::name_key(local.info.name, seed);
  base::parallel_ranges(threads, local.info.elements(), kSmallestPiece,
                        [&](std::int64_t begin, std::int64_t end) {
                          for (std::int64_t i = begin; i < end; ++i)
                            host[static_cast<std::size_t>(i)] =
                                static_cast<T>(static_cast<Wide>(value_of(local.info, key, i)));
                        });
  const kernels::Tensor target = store.parameter(local);
  device.upload(target.data, host.data(), target.bytes());
}

}  // namespace

double initial_value(const ParameterInfo& row, std::uint64_t seed, std::int64_t element) {
  return value_of(row, kernels::name_key(row.name, seed), element);
}

void initialise(const Store& store, std::uint64_t seed, kernels::Device& device, kernels::Ops& ops,
                int threads) {
  for (const LocalParameter& local : store.layout().rows()) {
    switch (store.parameter(local).dtype) {
      case kernels::Dtype::kF64:
        write_row<double>(store, local, seed, device, threads);
        break;
      case kernels::Dtype::kF32:
        write_row<float>(store, local, seed, device, threads);
        break;
      case kernels::Dtype::kBf16:
        write_row<kernels::Bf16>(store, local, seed, device, threads);
        break;
      case kernels::Dtype::kI32:
        throw InternalError("parameters are not integers");
    }
  }
  store.round_masters(ops);
  if (store.purpose() == Purpose::kTraining) ops.fill(store.all_moments(), 0.0);
}

}  // namespace seq1f1b::parameters

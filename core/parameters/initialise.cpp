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

// The values of elements [first, first + target.elements()) of a row.
template <class T>
void write_values(const ParameterInfo& row, std::int64_t first, const kernels::Tensor& target,
                  std::uint64_t seed, kernels::Device& device, int threads) {
  std::vector<T> host(static_cast<std::size_t>(target.elements()));
  // By way of fp32 where that is wider than T, so that a bf16 weight is its fp32 master rounded.
  using Wide = std::conditional_t<sizeof(T) == 8, double, float>;
  const std::uint64_t key = kernels::name_key(row.name, seed);
  base::parallel_ranges(threads, target.elements(), kSmallestPiece,
                        [&](std::int64_t begin, std::int64_t end) {
                          for (std::int64_t i = begin; i < end; ++i)
                            host[static_cast<std::size_t>(i)] =
                                static_cast<T>(static_cast<Wide>(value_of(row, key, first + i)));
                        });
  device.upload(target.data, host.data(), target.bytes());
}

void write_values(const ParameterInfo& row, std::int64_t first, const kernels::Tensor& target,
                  std::uint64_t seed, kernels::Device& device, int threads) {
  switch (target.dtype) {
    case kernels::Dtype::kF64:
      write_values<double>(row, first, target, seed, device, threads);
      break;
    case kernels::Dtype::kF32:
      write_values<float>(row, first, target, seed, device, threads);
      break;
    case kernels::Dtype::kBf16:
      write_values<kernels::Bf16>(row, first, target, seed, device, threads);
      break;
    case kernels::Dtype::kI32:
      throw InternalError("parameters are not integers");
  }
}

}  // namespace

double initial_value(const ParameterInfo& row, std::uint64_t seed, std::int64_t element) {
  return value_of(row, kernels::name_key(row.name, seed), element);
}

void initialise(const Store& store, std::uint64_t seed, kernels::Device& device, kernels::Ops& ops,
                int threads) {
  const Layout& layout = store.layout();
  // Weights that are no rounded masters of this store: all, or those that other ranks update.
  if (!store.has_masters() || store.updated() != layout.whole())
    for (const LocalParameter& row : layout.rows())
      write_values(row.info, 0, store.weight(row), seed, device, threads);
  if (store.has_masters())
    for (const Piece& piece : layout.pieces(store.updated()))
      write_values(layout.rows()[piece.row].info, piece.first, store.master(piece), seed, device,
                   threads);
  store.round_masters(ops);
  if (store.purpose() == Purpose::kTraining) ops.fill(store.all_moments(), 0.0);
}

}  // namespace seq1f1b::parameters

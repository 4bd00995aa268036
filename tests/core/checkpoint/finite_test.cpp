#include "core/checkpoint/finite.h"

#include <cstring>
#include <limits>
#include <vector>

#include "kernels/common/bf16.h"
#include "tests/catch.h"

using namespace seq1f1b;
using checkpoint::first_not_finite;
using kernels::Dtype;

namespace {

// The numbers at an odd address, as they may lie in a file.
template <class Value>
std::optional<std::size_t> found(Dtype dtype, const std::vector<Value>& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(Value) + 1);
  std::memcpy(bytes.data() + 1, values.data(), values.size() * sizeof(Value));
  return first_not_finite({"x", dtype, {}, std::span(bytes).subspan(1)});
}

template <class Value>
void check(Dtype dtype) {
  using Limits = std::numeric_limits<float>;
  CHECK_FALSE(found<Value>(dtype, {}));
  for (const std::size_t size : {1, 3, 1024, 1025, 5000}) {
    std::vector<Value> values(size, Value(-3e38F));
    CHECK_FALSE(found(dtype, values));
    for (const std::size_t place : {std::size_t{0}, size / 2, size - 1})
      for (const float bad : {Limits::infinity(), -Limits::infinity(), Limits::quiet_NaN()}) {
        std::vector<Value> damaged = values;
        damaged[place] = Value(bad);
        CHECK(found(dtype, damaged) == place);
      }
  }
}

}  // namespace

TEST_CASE("the first number that is none is found, wherever it lies") {
  check<double>(Dtype::kF64);
  check<float>(Dtype::kF32);
  check<kernels::Bf16>(Dtype::kBf16);
  CHECK_FALSE(found<std::int32_t>(Dtype::kI32, {-1, 0x7f800000}));
}

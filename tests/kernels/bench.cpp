#include "tests/kernels/bench.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>

#include "kernels/common/bf16.h"
#include "kernels/common/philox.h"
#include "kernels/simt/address_sanitizer.h"
#include "tests/catch.h"
#include "tests/kernels/back_ends.h"

namespace seq1f1b::kernels::testing {
namespace {

constexpr std::size_t kMarginBytes = 1024;  // more than any vector or cache line
constexpr double kBf16Roundings = 2.5;

double load(const Tensor& tensor, std::int64_t i) {
  switch (tensor.dtype) {
    case Dtype::kF64:
      return tensor.as<double>()[i];
    case Dtype::kF32:
      return static_cast<double>(tensor.as<float>()[i]);
    case Dtype::kBf16:
      return static_cast<double>(static_cast<float>(tensor.as<Bf16>()[i]));
    case Dtype::kI32:
      break;
  }
  throw InternalError("a tensor of integers has no floating-point values");
}

void store(const Tensor& tensor, std::int64_t i, double value) {
  if (tensor.dtype == Dtype::kF64)
    tensor.as<double>()[i] = value;
  else if (tensor.dtype == Dtype::kBf16)
    tensor.as<Bf16>()[i] = Bf16(static_cast<float>(value));
  else
    tensor.as<float>()[i] = static_cast<float>(value);
}

// 0xFF in every byte: a NaN as fp32, fp64 and bf16, and -1 as int32.
bool all_poison(const std::byte* begin, std::size_t count) {
  return std::all_of(begin, begin + count, [](std::byte b) { return b == std::byte{0xFF}; });
}

// Tensors that view a part of another are out of the address sanitizer's sight, margins are not.
void close_margins(std::byte* data, std::size_t bytes) {
  ASAN_POISON_MEMORY_REGION(data, kMarginBytes);
  ASAN_POISON_MEMORY_REGION(data + bytes - kMarginBytes, kMarginBytes);
}
void open_margins(std::byte* data, std::size_t bytes) { ASAN_UNPOISON_MEMORY_REGION(data, bytes); }

double rounding_error(Dtype dtype) {
  return dtype == Dtype::kF64 ? std::numeric_limits<double>::epsilon()
                              : std::numeric_limits<float>::epsilon();
}

// Arithmetic happens in the accumulate type: rounding errors of a sum of n terms wander like
// sqrt(n); 8 covers what happens around the sum. Half a bf16 unit is 2^-8 of a value at most. Where
// a result is rounded to bf16 that happens once to it and once more, with independent errors, to
// terms of it (probabilities, saved outputs): relative errors of terms grow a sum's by no more than
// the sum itself grows.
double tolerance_for(const Result& result, Dtype accumulate, Dtype compute, double largest) {
  const Accuracy& accuracy = result.accuracy;
  const double errors = 8 + 4 * std::sqrt(static_cast<double>(accuracy.length));
  double relative = errors * rounding_error(accumulate);
  const bool rounded = result.dtype == Dtype::kBf16 || accuracy.rounded_terms;
  if (compute == Dtype::kBf16 && rounded) relative += kBf16Roundings * std::ldexp(1.0, -8);
  return accuracy.condition * relative * std::max(largest, accuracy.terms);
}

// Rounding to the nearest errs to both sides alike; cutting digits off errs towards zero, by about
// 2^-8.5 of a value, which the tolerance of single values cannot see. The error of the mean size of
// n rounded values wanders like 1 / sqrt(n), in units that one of them is rounded to.
void check_no_bias(const Result& truth, const Result& found) {
  if (found.dtype != Dtype::kBf16) return;
  double size = 0, error = 0;
  for (std::size_t i = 0; i < truth.values.size(); ++i) {
    size += std::abs(truth.values[i]);
    error +=
        truth.values[i] < 0 ? truth.values[i] - found.values[i] : found.values[i] - truth.values[i];
  }
  const double count = static_cast<double>(truth.values.size());
  const double bound = std::ldexp(1.0, -8) * (0.15 + 4 / std::sqrt(count));
  INFO(found.name << ": sizes are off by " << error / size << " on average, bound " << bound);
  CHECK(std::abs(error) <=
        found.accuracy.condition * bound * std::max(size, count * found.accuracy.terms));
}

void compare(const std::vector<Result>& truth, const std::vector<Result>& found,
             const Backend& backend) {
  REQUIRE(truth.size() == found.size());
  for (std::size_t r = 0; r < truth.size(); ++r) {
    const auto& expected = truth[r].values;
    const auto& actual = found[r].values;
    REQUIRE(expected.size() == actual.size());
    double largest = 0;
    for (double value : expected) largest = std::max(largest, std::abs(value));
    const double tolerance = tolerance_for(found[r], backend.accumulate, backend.compute, largest);
    double worst = 0;
    std::size_t at = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const double error = std::abs(actual[i] - expected[i]);
      if (error <= worst) continue;  // false for NaN
      worst = error;
      at = i;
      if (std::isnan(error)) break;
    }
    INFO(found[r].name << "[" << at << "] of " << expected.size() << ": " << actual[at]
                       << ", expected " << expected[at] << ", error " << worst << ", tolerance "
                       << tolerance);
    CHECK(worst <= tolerance);
    check_no_bias(truth[r], found[r]);
  }
}

void compare_bits(const std::vector<Result>& one, const std::vector<Result>& other) {
  REQUIRE(one.size() == other.size());
  for (std::size_t r = 0; r < one.size(); ++r) {
    INFO(one[r].name);
    CHECK(one[r].bytes == other[r].bytes);
  }
}

}  // namespace

std::vector<double> values_of(const Tensor& tensor) {
  std::vector<double> values(static_cast<std::size_t>(tensor.elements()));
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = load(tensor, static_cast<std::int64_t>(i));
  return values;
}

Run::Run(Backend& backend, Dtype draws) : ops(*backend.ops), backend_(backend), draws_(draws) {}

// On a host device the tensor lies in `bytes`, else `bytes` is a copy of the device's.
Tensor Run::make(Dims dims, Dtype dtype, const std::function<void(const Tensor&)>& fill) {
  Tensor tensor(nullptr, dtype, dims);
  Memory& memory = memory_.emplace_back();
  memory.bytes.assign(tensor.bytes() + 2 * kMarginBytes, std::byte{0xFF});
  memory.data = memory.bytes.data();
  if (!backend_.device->is_host()) {
    memory.device = DeviceBuffer(*backend_.device, memory.bytes.size());
    memory.data = memory.device.data();
  }
  tensor.data = memory.data + kMarginBytes;
  memory.tensor = tensor;
  if (fill) {
    Tensor view = tensor;
    view.data = memory.bytes.data() + kMarginBytes;
    fill(view);
  }
  send(memory);
  return tensor;
}

// Moves tensor and margins by `transfer`. What was queued before must find the margins closed, and
// what moves them must not.
void Run::with_open_margins(Memory& memory, const std::function<void()>& transfer) {
  const auto wait = [&] {
    if (seq1f1b::testing::kAddressSanitizer) backend_.device->synchronize();
  };
  wait();
  open_margins(memory.data, memory.bytes.size());
  transfer();
  wait();
  close_margins(memory.data, memory.bytes.size());
}

void Run::send(Memory& memory) {
  with_open_margins(memory, [&] {
    if (memory.device.data())
      backend_.device->upload(memory.device.data(), memory.bytes.data(), memory.bytes.size());
  });
}

void Run::receive(Memory& memory) {
  if (!memory.device.data()) return;
  with_open_margins(memory, [&] {
    backend_.device->download(memory.bytes.data(), memory.device.data(), memory.bytes.size());
  });
}

Run::Memory& Run::memory_of(const void* data) {
  const auto* byte = static_cast<const std::byte*>(data);
  const std::less<const std::byte*> before;
  for (Memory& memory : memory_)
    if (!before(byte, memory.data) && before(byte, memory.data + memory.bytes.size()))
      return memory;
  throw InternalError("a tensor that this run did not make");
}

// The tensor in host memory, as it is now.
Tensor Run::host_view(const Tensor& tensor) {
  Memory& memory = memory_of(tensor.data);
  receive(memory);
  Tensor view = tensor;
  view.data = memory.bytes.data() + (tensor.as<std::byte>() - memory.data);
  return view;
}

Tensor Run::keep(const Tensor& input) {
  Memory& memory = memory_.back();
  const auto begin = memory.bytes.begin() + static_cast<std::ptrdiff_t>(kMarginBytes);
  memory.original.assign(begin, begin + static_cast<std::ptrdiff_t>(input.bytes()));
  return input;
}

double Run::draw(Role role, std::uint64_t key, std::int64_t i, double scale, double shift) const {
  const double value = philox_normal(key, static_cast<std::uint64_t>(i)) * scale + shift;
  const auto narrow = static_cast<float>(value);
  const bool bf16 = role == Role::kCompute && draws_ == Dtype::kBf16;
  return static_cast<double>(bf16 ? static_cast<float>(Bf16(narrow)) : narrow);
}

Tensor Run::input(Dims dims, std::uint64_t key, double scale, double shift) {
  return keep(make(dims, backend_.compute, [&](const Tensor& view) {
    for (std::int64_t i = 0; i < view.elements(); ++i)
      store(view, i, draw(Role::kCompute, key, i, scale, shift));
  }));
}

Tensor Run::inout(Dims dims, std::uint64_t key, Role role, double scale) {
  return make(dims, dtype(role), [&](const Tensor& view) {
    for (std::int64_t i = 0; i < view.elements(); ++i) store(view, i, draw(role, key, i, scale, 0));
  });
}

Tensor Run::output(Dims dims, Role role) { return make(dims, dtype(role)); }

Tensor Run::master(const Tensor& weight) {
  if (backend_.compute == backend_.accumulate) return {};
  const std::vector<double> exact = values(weight);
  return make({weight.elements()}, backend_.accumulate, [&](const Tensor& view) {
    for (std::int64_t i = 0; i < view.elements(); ++i)
      store(view, i, exact[static_cast<std::size_t>(i)]);
  });
}

Tensor Run::integers(Dims dims, const std::function<std::int64_t(std::int64_t)>& value) {
  return keep(make(dims, Dtype::kI32, [&](const Tensor& view) {
    for (std::int64_t i = 0; i < view.elements(); ++i)
      view.as<std::int32_t>()[i] = static_cast<std::int32_t>(value(i));
  }));
}

Tensor Run::integer_output(Dims dims) { return make(dims, Dtype::kI32); }

Tensor Run::carry(Dims dims, std::int64_t first, std::int64_t last, std::uint64_t key, Role role) {
  return make(dims, dtype(role), [&](const Tensor& view) {
    const std::int64_t capacity = view.dim(2), head_dim = view.dim(3);
    for (std::int64_t i = 0; i < view.elements(); ++i) {
      const std::int64_t row = i / head_dim % capacity;
      if (row >= first && row < last) store(view, i, draw(role, key, i, 1, 0));
    }
  });
}

double* Run::scalar(double value) {
  return make({1}, Dtype::kF64, [&](const Tensor& view) { store(view, 0, value); }).as<double>();
}

Tensor Run::doubles(const std::vector<double>& values) {
  return make({static_cast<std::int64_t>(values.size())}, Dtype::kF64,
              [&](const Tensor& view) { std::memcpy(view.data, values.data(), view.bytes()); });
}

AdamWParams* Run::step(const AdamWParams& constants) {
  static_assert(sizeof(AdamWParams) % sizeof(double) == 0);
  const auto words = static_cast<std::int64_t>(sizeof(AdamWParams) / sizeof(double));
  const Tensor place = make({words}, Dtype::kF64, [&](const Tensor& view) {
    std::memcpy(view.data, &constants, sizeof constants);
  });
  return place.as<AdamWParams>();
}

void Run::set(const Tensor& tensor, std::int64_t i, double value) {
  store(host_view(tensor), i, value);
  send(memory_of(tensor.data));
}

std::vector<double> Run::values(const Tensor& tensor) { return values_of(host_view(tensor)); }

std::vector<std::int32_t> Run::integer_values(const Tensor& tensor) {
  const auto* begin = host_view(tensor).as<std::int32_t>();
  return {begin, begin + tensor.elements()};
}

double Run::value(const double* scalar) {
  return values(Tensor(const_cast<double*>(scalar), Dtype::kF64, {1})).front();
}

AdamWParams Run::value(const AdamWParams* step) {
  const auto words = static_cast<std::int64_t>(sizeof(AdamWParams) / sizeof(double));
  AdamWParams value;
  std::memcpy(&value, host_view(Tensor(const_cast<AdamWParams*>(step), Dtype::kF64, {words})).data,
              sizeof value);
  return value;
}

// `tensor` is in host memory.
void Run::add_result(const std::string& name, const Tensor& tensor, std::int64_t first,
                     std::int64_t count, const Accuracy& accuracy) {
  const auto width = static_cast<std::int64_t>(dtype_bytes(tensor.dtype));
  const auto* bytes = tensor.as<std::byte>() + first * width;
  Result result{name, {}, {bytes, bytes + count * width}, tensor.dtype, accuracy};
  for (std::int64_t i = first; i < first + count; ++i) result.values.push_back(load(tensor, i));
  results_.push_back(std::move(result));
}

void Run::result(const std::string& name, const Tensor& tensor, const Accuracy& accuracy) {
  add_result(name, host_view(tensor), 0, tensor.elements(), accuracy);
}

void Run::result_rows(const std::string& name, const Tensor& tensor, std::int64_t first,
                      std::int64_t last, const Accuracy& accuracy) {
  const Tensor view = host_view(tensor);
  const std::int64_t capacity = tensor.dim(2), head_dim = tensor.dim(3);
  for (std::int64_t slab = 0; slab < tensor.dim(0) * tensor.dim(1); ++slab) {
    const std::int64_t begin = slab * capacity * head_dim;
    add_result(concat(name, " of key head ", slab), view, begin + first * head_dim,
               (last - first) * head_dim, accuracy);
    const auto width = static_cast<std::int64_t>(dtype_bytes(tensor.dtype)) * head_dim;
    const auto* rows = view.as<std::byte>() + slab * capacity * width;
    INFO(name << " outside rows " << first << " to " << last);
    CHECK(all_poison(rows, static_cast<std::size_t>(first * width)));
    CHECK(all_poison(rows + last * width, static_cast<std::size_t>((capacity - last) * width)));
  }
}

void Run::result_scalar(const std::string& name, const double* value, const Accuracy& accuracy) {
  result(name, Tensor(const_cast<double*>(value), Dtype::kF64, {1}), accuracy);
}

std::vector<Result> Run::finish() {
  for (Memory& memory : memory_) {
    INFO(describe(memory.tensor));
    const Tensor view = host_view(memory.tensor);
    const std::size_t size = memory.bytes.size();
    open_margins(memory.data, size);
    CHECK(all_poison(memory.bytes.data(), kMarginBytes));
    CHECK(all_poison(memory.bytes.data() + size - kMarginBytes, kMarginBytes));
    if (!memory.original.empty())
      CHECK(std::memcmp(memory.original.data(), view.data, memory.original.size()) == 0);
  }
  return results_;
}

namespace {

// More than any operation takes of these tests' shapes; whether the formulas of
// kernels/cuda/scratch.h suffice is tested with them.
constexpr std::size_t kScratchBytes = std::size_t{64} << 20;
constexpr std::size_t kSpoiltScratchBytes = std::size_t{1} << 20;

// A back end ready for use. Those with memory of their own are kept for the next body: their
// memory, and pinned memory, is expensive to get.
struct Ready {
  explicit Ready(Backend made) : backend(std::move(made)) {
    if (backend.device->is_host()) return;
    scratch = DeviceBuffer(*backend.device, kScratchBytes);
    backend.ops->use_scratch(scratch.data(), kScratchBytes);
  }
  Backend backend;
  DeviceBuffer scratch;
};

std::shared_ptr<Ready> ready(const NamedBackend& candidate) {
  static std::map<std::string, std::shared_ptr<Ready>> kept;
  if (const auto found = kept.find(candidate.name); found != kept.end()) return found->second;
  auto made = std::make_shared<Ready>(candidate.make());
  if (!made->backend.device->is_host()) kept[candidate.name] = made;
  return made;
}

// What an operation leaves in its scratch has no meaning for the next.
void spoil(Ready& one) {
  if (!one.scratch.data()) return;
  static const std::vector<std::byte> poison(kSpoiltScratchBytes, std::byte{0xFF});
  one.backend.device->upload(one.scratch.data(), poison.data(), poison.size());
}

}  // namespace

void on_every_back_end(const Body& body) {
  const auto run_on = [&](Backend& backend, Dtype draws) {
    Run run(backend, draws);
    body(run);
    return run.finish();
  };
  const auto truth_of = [&](Dtype draws) {
    Backend reference = make_reference_backend(Dtype::kF64);
    std::vector<Result> truth = run_on(reference, draws);
    for (const Result& result : truth) {
      INFO(result.name << " of the reference");
      CHECK(std::all_of(result.values.begin(), result.values.end(),
                        [](double value) { return std::isfinite(value); }));
    }
    return truth;
  };
  const std::vector<Result> truth = truth_of(Dtype::kF32), bf16_truth = truth_of(Dtype::kBf16);
  std::vector<Result> previous;
  for (const NamedBackend& candidate : back_ends_under_test()) {
    INFO(candidate.name);
    const std::shared_ptr<Ready> kept = ready(candidate);
    Backend& backend = kept->backend;
    spoil(*kept);
    const std::vector<Result> found = run_on(backend, backend.compute);
    compare(backend.compute == Dtype::kBf16 ? bf16_truth : truth, found, backend);
    // A repetition has nothing new for the address sanitizer, under which it takes long.
    if (!seq1f1b::testing::kAddressSanitizer) {
      spoil(*kept);
      const std::vector<Result> again = run_on(backend, backend.compute);
      if (candidate.repeatable)
        compare_bits(found, again);
      else
        compare(backend.compute == Dtype::kBf16 ? bf16_truth : truth, again, backend);
    }
    if (candidate.same_bits_as_previous) compare_bits(previous, found);
    previous = found;
  }
}

void for_each_back_end(const std::function<void(Backend&)>& body) {
  Backend reference = make_reference_backend(Dtype::kF64);
  body(reference);
  for (const NamedBackend& candidate : back_ends_under_test()) {
    INFO(candidate.name);
    const std::shared_ptr<Ready> kept = ready(candidate);
    spoil(*kept);
    body(kept->backend);
  }
}

}  // namespace seq1f1b::kernels::testing

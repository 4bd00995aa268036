// What the back ends share: host memory, argument checks, counter-based random numbers, the loops'
// exponential.
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>

#include "kernels/common/limits.h"
#include "kernels/common/philox.h"
#include "kernels/cpu/row_loops.h"
#include "tests/catch.h"
#include "tests/kernels/bench.h"

namespace seq1f1b::kernels::testing {

TEST_CASE("device memory is aligned, writable and copied faithfully", "[device]") {
  for_each_back_end([](Backend& backend) {
    Device& device = *backend.device;
    CHECK(device.description().find("CPU") != std::string::npos);
    for (std::size_t bytes : {std::size_t{1}, std::size_t{4097}, (std::size_t{2} << 20) + 5}) {
      DeviceBuffer buffer(device, bytes);
      CHECK(reinterpret_cast<std::uintptr_t>(buffer.data()) % 256 == 0);
      std::vector<std::byte> out(bytes, std::byte{0x5A}), in(bytes);
      device.upload(buffer.data(), out.data(), bytes);
      device.synchronize();
      device.download(in.data(), buffer.data(), bytes);
      CHECK(in == out);
    }
    CHECK(DeviceBuffer(device, 0).data() == nullptr);
  });
}

TEST_CASE("the instruction set is the wanted one, or the best that the environment allows",
          "[device]") {
  const char* const kVariable = "SEQ1F1B_INSTRUCTION_SET";
  const char* const set = std::getenv(kVariable);
  const std::optional<std::string> before = set ? std::optional<std::string>(set) : std::nullopt;
  ::unsetenv(kVariable);
  CHECK(cpu_instruction_set() == cpu::isa_name(cpu::best_isa()));
  CHECK(cpu_instruction_set("baseline") == "baseline");
  for (const char* nothing : {"", "auto"}) {
    ::setenv(kVariable, nothing, 1);
    CHECK(cpu_instruction_set() == cpu::isa_name(cpu::best_isa()));
  }
  ::setenv(kVariable, "baseline", 1);
  CHECK(cpu_instruction_set() == "baseline");
  CHECK(make_cpu_backend(1).device->description().find("baseline") != std::string::npos);
  // Who names one in the configuration means it.
  const std::string best = cpu::isa_name(cpu::best_isa());
  CHECK(cpu_instruction_set(best) == best);
  ::setenv(kVariable, "avx3", 1);
  CHECK_THROWS_AS(cpu_instruction_set(), ConfigError);
  for (const char* name : kCpuInstructionSets)
    if (!cpu::isa_available(*cpu::parse_isa(name)))
      CHECK_THROWS_AS(cpu_instruction_set(name), ConfigError);
  before ? ::setenv(kVariable, before->c_str(), 1) : ::unsetenv(kVariable);
}

TEST_CASE("an allocation that cannot succeed names its size", "[device]") {
  Backend backend = make_reference_backend();
  const std::size_t bytes = std::size_t{1} << 60;
  try {
    backend.device->allocate(bytes);
    FAIL("allocated an exbibyte");
  } catch (const Error& error) {
    CHECK(error.code() == kExitUnexpected);
    CHECK(std::string(error.what()).find(std::to_string(bytes)) != std::string::npos);
  }
  CHECK_THROWS_AS(backend.device->allocate(~std::size_t{0}), Error);
}

TEST_CASE("operations refuse arguments that break the contract", "[checks]") {
  for_each_back_end([](Backend& backend) {
    Run run(backend);
    Ops& ops = *backend.ops;
    const Tensor input = run.input({4, 6}, 1), weight = run.input({5, 6}, 2);
    const Tensor output = run.output({4, 5}), wide = run.output({4, 6});
    const auto linear = [&](const Tensor& in, const Tensor& w, const Tensor& out) {
      ops.linear_forward(in, w, {}, {}, out);
    };
    CHECK_NOTHROW(linear(input, weight, output));
    CHECK_THROWS_AS(linear(input, weight, wide), InternalError);                 // shape
    CHECK_THROWS_AS(linear(input, weight, {}), InternalError);                   // absent
    CHECK_THROWS_AS(linear(input, run.input({6, 6}, 3), input), InternalError);  // overlap
    const Tensor integers = run.integers({4, 5}, [](std::int64_t i) { return i; });
    CHECK_THROWS_AS(linear(input, weight, integers), InternalError);  // dtype

    const Tensor table = run.input({20, 3}, 4), rows = run.output({4, 5, 3});
    CHECK_NOTHROW(ops.embedding_forward(integers, table, {}, 0, rows));
    CHECK_THROWS_AS(ops.embedding_forward(integers, run.input({19, 3}, 5), {}, 0, rows),
                    InternalError);  // token 19 is not a word
    CHECK_THROWS_AS(ops.embedding_forward(integers, table, run.input({9, 3}, 6), 5, rows),
                    InternalError);  // position 9 has no row

    const Tensor query = run.input({1, 4, 2, 8}, 7), key = run.input({1, 1, 9, 8}, 8);
    const Tensor value = run.input({1, 1, 9, 8}, 9), out = run.output({1, 4, 2, 8});
    const Tensor statistics = run.output({1, 2, 4}, Role::kAccumulate);
    const auto attention = [&](std::int64_t query_start, std::int64_t key_length) {
      ops.attention_forward(query, key, value, {query_start, 0, key_length, nullptr}, 1, out,
                            statistics);
    };
    CHECK_NOTHROW(attention(5, 9));
    CHECK_THROWS_AS(attention(6, 10), InternalError);  // more keys than the carry holds
    CHECK_THROWS_AS(attention(5, 8), InternalError);   // the last query would not see itself
    const Tensor head = run.input({1, 1, 1, kMaxHeadDim + 1}, 11);
    CHECK_THROWS_AS(ops.attention_forward(head, head, head, {0, 0, 1, nullptr}, 1,
                                          run.output({1, 1, 1, kMaxHeadDim + 1}),
                                          run.output({1, 1, 1}, Role::kAccumulate)),
                    InternalError);  // wider heads than promised

    const Tensor residual = run.inout({4, 6}, 10);
    Tensor shifted = residual;  // overlaps without being the same
    shifted.data = residual.as<std::byte>() + dtype_bytes(residual.dtype);
    CHECK_THROWS_AS(ops.gelu_backward(input, residual, shifted), InternalError);
  });
}

TEST_CASE("check messages say operation, tensor, what it is and what was expected", "[checks]") {
  Backend backend = make_reference_backend();
  Run run(backend);
  try {
    backend.ops->norm_forward(NormKind::kRmsNorm, run.input({4, 6}, 1), run.input({5}, 2), {}, 1e-5,
                              run.output({4, 6}), run.output({4, 2}));
    FAIL("accepted a weight of the wrong length");
  } catch (const InternalError& error) {
    CHECK(std::string(error.what()) == "norm: weight is fp64[5], expected fp64[6]");
  }
}

// Known answers of Philox4x32-10 from the Random123 distribution (tests/kat_vectors).
TEST_CASE("philox gives the published numbers", "[philox]") {
  CHECK(philox(0, 0, 0) ==
        std::array<std::uint32_t, 4>{0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u});
  CHECK(philox(~0ull, ~0ull, ~0ull) ==
        std::array<std::uint32_t, 4>{0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu});
}

TEST_CASE("the loops' exponential is within 1.1 units in the last place", "[loops]") {
  for (cpu::Isa isa : cpu::kAllIsas) {
    if (!cpu::isa_available(isa)) continue;
    INFO(cpu::isa_name(isa));
    const cpu::RowLoops<float>& loops = cpu::row_loops<float>(isa);
    // Every 1021st of all floats, in order of their bits.
    std::vector<float> inputs, outputs(4096);
    double worst = 0;
    float at = 0;
    std::uint64_t wrong = 0;
    const auto measure = [&] {
      loops.exponential(inputs.data(), outputs.data(), static_cast<std::int64_t>(inputs.size()));
      for (std::size_t i = 0; i < inputs.size(); ++i) {
        const double exact = std::exp(static_cast<double>(inputs[i]));
        const auto rounded = static_cast<float>(exact);
        if (std::isnan(inputs[i])) {
          wrong += !std::isnan(outputs[i]);
          continue;
        }
        if (std::isinf(rounded)) {
          wrong += outputs[i] != rounded;
          continue;
        }
        int exponent = 0;
        std::frexp(exact, &exponent);
        const double unit = std::ldexp(1.0, std::max(exponent - 24, -149));
        const double error = std::abs(static_cast<double>(outputs[i]) - exact) / unit;
        if (error <= worst) continue;
        worst = error;
        at = inputs[i];
      }
      inputs.clear();
    };
    for (std::uint64_t bits = 0; bits < (std::uint64_t{1} << 32); bits += 1021) {
      const auto pattern = static_cast<std::uint32_t>(bits);
      float value = 0;
      std::memcpy(&value, &pattern, sizeof value);
      inputs.push_back(value);
      if (inputs.size() == outputs.size()) measure();
    }
    measure();
    INFO("worst at " << at);
    CHECK(worst <= 1.1);
    CHECK(wrong == 0);
  }
}

}  // namespace seq1f1b::kernels::testing

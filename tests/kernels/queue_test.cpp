// A device's queue and its operations together: what training does with them step after step.
#include <algorithm>
#include <vector>

#include "tests/catch.h"
#include "tests/kernels/bench.h"

namespace seq1f1b::kernels::testing {

TEST_CASE("recorded operations are replayed with what memory holds then", "[queue]") {
  for_each_back_end([](Backend& backend) {
    Device& device = *backend.device;
    constexpr std::int64_t kCount = 1000;
    const std::size_t bytes = kCount * dtype_bytes(backend.accumulate);
    DeviceBuffer sum_memory(device, bytes), part_memory(device, bytes);
    const Tensor sum(sum_memory.data(), backend.accumulate, {kCount});
    const Tensor part(part_memory.data(), backend.accumulate, {kCount});
    backend.ops->fill(sum, 0);
    double expected = 0;
    for (int pass = 1; pass <= 4; ++pass) {
      backend.ops->fill(part, pass);
      device.replay(7, [&] {
        backend.ops->accumulate(part, sum);
        backend.ops->accumulate(part, sum);
      });
      expected += 2 * pass;
    }
    device.stamp(0);
    device.stamp(1);
    std::vector<std::byte> back(bytes);
    device.download(back.data(), sum.data, bytes);
    for (double value : values_of(Tensor(back.data(), backend.accumulate, {kCount})))
      REQUIRE(value == expected);
    CHECK(device.seconds_between(0, 1) >= 0);
    device.forget_graphs();
  });
}

TEST_CASE("uploads and downloads of many sizes arrive whole and in order", "[queue]") {
  for_each_back_end([](Backend& backend) {
    Device& device = *backend.device;
    constexpr std::size_t kMost = std::size_t{3} << 20;
    DeviceBuffer memory(device, kMost), copy(device, kMost);
    const HostBuffer later(device, kMost);
    const auto event = device.make_event();
    for (const std::size_t bytes : {std::size_t{1}, std::size_t{4097}, kMost}) {
      std::vector<std::byte> sent(bytes), back(bytes);
      for (std::size_t i = 0; i < bytes; ++i) sent[i] = static_cast<std::byte>(i * 31 + bytes);
      const std::vector<std::byte> original = sent;
      device.upload(memory.data(), sent.data(), bytes);
      std::fill(sent.begin(), sent.end(), std::byte{0});
      device.copy(copy.data(), memory.data(), bytes);
      device.download_later(later.data(), copy.data(), bytes);
      device.record(*event);
      device.download(back.data(), memory.data(), bytes);
      CHECK(event->done());  // a download waits for all before it
      CHECK(back == original);
      CHECK(std::equal(original.begin(), original.end(), later.data()));
    }
  });
}

}  // namespace seq1f1b::kernels::testing

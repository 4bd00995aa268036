// CudaDevice on the emulated runtime, whose streams are lazy: what was not waited for has not
// happened.
#include "kernels/cuda/device.h"

#include <cstring>
#include <numeric>
#include <vector>

#include "kernels/cuda/check.h"
#include "kernels/simt/runtime.h"
#include "tests/catch.h"

namespace seq1f1b::kernels::cuda {
namespace {

struct Fixture {
  CudaDevice device;
  explicit Fixture(bool graphs = true) : device(first_gpu(), graphs) {}
  static Gpu first_gpu() {
    std::string why;
    const std::vector<Gpu> gpus = usable_gpus(why);
    INFO(why);
    REQUIRE_FALSE(gpus.empty());
    return gpus.front();
  }
};

std::vector<std::uint32_t> numbers(std::size_t count, std::uint32_t first) {
  std::vector<std::uint32_t> values(count);
  std::iota(values.begin(), values.end(), first);
  return values;
}

}  // namespace

TEST_CASE("a device says what it is") {
  Fixture fixture;
  CHECK_FALSE(fixture.device.is_host());
  CHECK(fixture.device.memory_bytes() > 0);
  CHECK(fixture.device.description().find("compute capability 8.0") != std::string::npos);
  CHECK(fixture.device.architecture() == 80);
  CHECK(fixture.device.multiprocessors() > 0);
  CHECK_FALSE(fixture.device.identity().bus_id.empty());
}

TEST_CASE("errors that leave one guessing come with a hint") {
  Fixture fixture;
  {
    const std::scoped_lock lock(simt::Runtime::get().mutex);
    simt::Runtime::get().fault("a kernel reads beyond its memory");
  }
  std::string message;
  try {
    fixture.device.synchronize();
  } catch (const Error& error) {
    message = error.what();
  }
  cudaDeviceReset();
  INFO(message);
  CHECK(message.starts_with("CUDA, waiting for the GPU: a kernel reads beyond its memory"));
  CHECK(message.find("CUDA_LAUNCH_BLOCKING=1") != std::string::npos);
  CHECK(std::string(hint_of(cudaErrorSystemNotReady)).find("fabricmanager") != std::string::npos);
  CHECK(std::string(hint_of(cudaErrorDevicesUnavailable)).find("Default") != std::string::npos);
  CHECK(std::string(hint_of(cudaErrorInvalidValue)).empty());
}

TEST_CASE("looking at a busy stream leaves no error behind for the next launch") {
  Fixture fixture;
  DeviceBuffer memory(fixture.device, 4096);
  const auto host = numbers(1024, 7);
  fixture.device.upload(memory.data(), host.data(), 4096);
  int looks = 1;
  for (; !is_idle(fixture.device.stream()); ++looks) REQUIRE(cudaGetLastError() == cudaSuccess);
  CHECK(looks > 1);
}

TEST_CASE("uploads take their bytes at once, in order, and need not wait") {
  Fixture fixture;
  CudaDevice& device = fixture.device;
  DeviceBuffer memory(device, 4096), copy(device, 4096);
  CHECK(reinterpret_cast<std::uintptr_t>(memory.data()) % 256 == 0);
  std::vector<std::uint32_t> host = numbers(1024, 0), back(1024);
  device.upload(memory.data(), host.data(), 4096);
  device.copy(copy.data(), memory.data(), 4096);
  host = numbers(1024, 5000);  // the source is free again
  device.upload(memory.data(), host.data(), 4096);
  device.download(back.data(), copy.data(), 4096);
  CHECK(back == numbers(1024, 0));
  device.download(back.data(), memory.data(), 4096);
  CHECK(back == numbers(1024, 5000));
}

TEST_CASE("events follow the work before them") {
  Fixture fixture;
  CudaDevice& device = fixture.device;
  const auto event = device.make_event();
  CHECK(event->done());  // never recorded
  DeviceBuffer memory(device, 4096);
  const HostBuffer target(device, 4096);
  auto* const pinned = reinterpret_cast<std::uint32_t*>(target.data());
  const auto host = numbers(1024, 7);
  device.upload(memory.data(), host.data(), 4096);
  device.download_later(pinned, memory.data(), 4096);
  device.record(*event);
  while (!event->done()) {
  }
  CHECK(std::memcmp(pinned, host.data(), 4096) == 0);
  // Looking at an event that is not done leaves no error behind for the next launch.
  CHECK(cudaGetLastError() == cudaSuccess);
  device.wait(*event);
  device.synchronize();
}

TEST_CASE("time stamps are in order") {
  Fixture fixture;
  CudaDevice& device = fixture.device;
  device.stamp(3);
  device.stamp(Device::kTimeStamps - 1);
  device.synchronize();
  CHECK(device.seconds_between(3, Device::kTimeStamps - 1) >= 0);
  CHECK_THROWS_AS(device.seconds_between(3, 4), InternalError);
  CHECK_THROWS_AS(device.stamp(Device::kTimeStamps), InternalError);
}

TEST_CASE("memory that is not there is named with its size") {
  Fixture fixture;
  try {
    fixture.device.allocate(std::size_t{1} << 60);
    FAIL("an exbibyte was allocated");
  } catch (const Error& error) {
    const std::string text = error.what();
    CHECK(text.find("1099511627776 MiB") != std::string::npos);
    CHECK(text.find("pipeline ranks") != std::string::npos);
  }
  CHECK(cudaGetLastError() == cudaSuccess);
  CHECK(fixture.device.allocate(0) == nullptr);
}

TEST_CASE("work is done once when recorded, and once with every replay") {
  for (const bool graphs : {true, false}) {
    Fixture fixture(graphs);
    CudaDevice& device = fixture.device;
    // Each pass moves the row behind: what was done twice would show.
    DeviceBuffer memory(device, 5 * 256);
    std::vector<std::uint32_t> host = numbers(5 * 64, 0), back(5 * 64);
    device.upload(memory.data(), host.data(), 5 * 256);
    int issued = 0;
    const auto issue = [&] {
      ++issued;
      for (int row = 0; row < 4; ++row)
        check(cudaMemcpyAsync(memory.data() + row * 256, memory.data() + (row + 1) * 256, 256,
                              cudaMemcpyDeviceToDevice, device.stream()),
              "moving a row");
    };
    for (int pass = 1; pass <= 3; ++pass) {
      device.replay(42, issue);
      device.download(back.data(), memory.data(), 5 * 256);
      CHECK(back[0] == static_cast<std::uint32_t>(pass * 64));
    }
    CHECK(issued == (graphs ? 2 : 3));  // to do it and to record it
    CHECK(device.graphs().count == (graphs ? 1 : 0));
    device.forget_graphs();
    CHECK(device.graphs().count == 0);
    device.replay(42, issue);
    CHECK(issued == 4);
  }
}

TEST_CASE("recorded work goes through operations only, and an error leaves the queue usable") {
  Fixture fixture;
  CudaDevice& device = fixture.device;
  DeviceBuffer memory(device, 256);
  std::uint32_t value = 17;
  CHECK_THROWS_AS(device.replay(1, [&] { device.replay(2, [] {}); }), InternalError);
  CHECK_THROWS_AS(device.replay(1, [&] { device.synchronize(); }), InternalError);
  CHECK_THROWS_AS(device.replay(1, [&] { device.upload(memory.data(), &value, 4); }),
                  InternalError);
  int calls = 0;
  CHECK_THROWS_AS(device.replay(1,
                                [&] {
                                  if (++calls == 2) throw DataError("while recording");
                                }),
                  DataError);
  CHECK(calls == 2);
  CHECK(device.graphs().count == 0);
  device.upload(memory.data(), &value, 4);
  std::uint32_t back = 0;
  device.download(&back, memory.data(), 4);
  CHECK(back == 17);
}

TEST_CASE("downloads go through pinned memory in pieces, behind the work before them") {
  Fixture fixture;
  CudaDevice& device = fixture.device;
  // Three and a half pieces of the device's ring.
  const std::size_t count = 7 * (kStagingBytes / 4) / 2 / 4 + 3;
  DeviceBuffer memory(device, count * 4);
  const auto host = numbers(count, 11);
  device.upload(memory.data(), host.data(), count * 4);
  std::vector<std::uint32_t> back(count);
  device.download(back.data(), memory.data(), count * 4);
  CHECK(back == host);
}

TEST_CASE("the staging ring keeps what is under way and reuses what is done") {
  Fixture fixture;
  CudaDevice& device = fixture.device;
  StagingRing ring(4096);
  DeviceBuffer memory(device, 64 * 1024);
  std::vector<std::uint32_t> back(16 * 1024);
  // Far more than it holds, in pieces of odd sizes.
  const auto host = numbers(16 * 1024, 3);
  std::size_t done = 0;
  for (std::size_t bytes = 4; done < 64 * 1024; bytes = bytes * 3 % 1500 / 4 * 4 + 4) {
    const std::size_t count = std::min(bytes, 64 * 1024 - done);
    ring.upload(memory.data() + done, reinterpret_cast<const std::byte*>(host.data()) + done, count,
                device.stream());
    done += count;
  }
  device.download(back.data(), memory.data(), 64 * 1024);
  CHECK(back == host);
  CHECK(ring.waits() > 0);
  // Downloads between uploads, from wherever the ring stands, larger than it and smaller than a
  // piece.
  for (std::size_t bytes = 4; bytes <= 64 * 1024; bytes = bytes * 5 / 4 + 4) {
    const std::size_t count = bytes / 4;
    const auto other = numbers(173, static_cast<std::uint32_t>(bytes));
    ring.upload(memory.data(), other.data(), 173 * 4, device.stream());
    ring.upload(memory.data() + 60000, other.data(), 173 * 4, device.stream());
    std::vector<std::uint32_t> got(count + 1, 77);
    ring.download(got.data(), memory.data(), count * 4, device.stream());
    std::vector<std::uint32_t> expected = host;
    std::copy(other.begin(), other.end(), expected.begin());
    std::copy(other.begin(), other.end(), expected.begin() + 15000);
    expected.resize(count);
    expected.push_back(77);
    REQUIRE(got == expected);
  }
  // What has been waited for costs no wait.
  const std::size_t waits = ring.waits();
  for (int i = 0; i < 100; ++i) {
    ring.upload(memory.data(), host.data(), 1024, device.stream());
    device.synchronize();
  }
  CHECK(ring.waits() == waits);
}

}  // namespace seq1f1b::kernels::cuda

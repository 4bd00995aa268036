// Memory that goes while work on it is queued: the tests' devices notice it every time, however
// fast the work was done, and take every way of waiting for it.
#include "tests/core/comm/queued_device.h"

#include <array>

#include "tests/catch.h"
#include "tests/core/comm/rank_threads.h"

using namespace seq1f1b;
using comm::testing::Machine;
using comm::testing::QueuedDevice;

namespace {

constexpr std::size_t kBytes = 64;
using Issue = std::function<void(QueuedDevice&, void* memory)>;

// What is said of memory that is released after `issue`, long after the work was done.
std::vector<std::string> early_releases(const Issue& issue) {
  Machine machine(1);
  QueuedDevice device(machine);
  void* const memory = device.allocate(kBytes);
  issue(device, memory);
  bool ran = false;
  device.issue([&] { ran = true; }, {});
  machine.wait_for_queues();
  CHECK(ran);
  device.release(memory, kBytes);
  return machine.take_early_releases();
}

void upload(QueuedDevice& device, void* memory) {
  const std::array<std::byte, kBytes> values{};
  device.upload(memory, values.data(), kBytes);
}

}  // namespace

TEST_CASE("memory released before the end of its work was waited for is an error") {
  std::array<std::byte, kBytes> host{};
  const std::vector<std::pair<std::string, Issue>> works = {
      {"an upload", upload},
      {"a download",
       [&](QueuedDevice& device, void* memory) { device.download_later(&host, memory, kBytes); }},
      {"a copy", [&](QueuedDevice& device, void* memory) { device.copy(memory, &host, kBytes); }},
      {"a kernel", [](QueuedDevice& device, void*) { device.issue([] {}); }},
      // An event that was recorded too early, or of which nobody has heard.
      {"an upload",
       [](QueuedDevice& device, void* memory) {
         const auto event = device.make_event();
         device.record(*event);
         upload(device, memory);
         while (!event->done()) {
         }
       }},
      {"an upload",
       [](QueuedDevice& device, void* memory) {
         const auto event = device.make_event();
         upload(device, memory);
         device.record(*event);
       }},
  };
  for (const auto& [what, issue] : works) {
    const std::vector<std::string> said = early_releases(issue);
    REQUIRE(said.size() == 1);
    INFO(said[0]);
    CHECK(comm::testing::contains(said[0], "64 bytes of a device are released while " + what));
  }
}

TEST_CASE("memory may be released when the end of its work was waited for") {
  const std::vector<Issue> works = {
      [](QueuedDevice&, void*) {},
      [](QueuedDevice& device, void* memory) {
        upload(device, memory);
        device.synchronize();
      },
      [](QueuedDevice& device, void* memory) {
        upload(device, memory);
        std::array<std::byte, kBytes> host{};
        device.download(host.data(), memory, kBytes);
      },
      [](QueuedDevice& device, void* memory) {
        upload(device, memory);
        const auto event = device.make_event();
        device.record(*event);
        while (!event->done()) {
        }
      },
      // Work on other memory.
      [](QueuedDevice& device, void*) {
        void* const other = device.allocate(kBytes);
        upload(device, other);
        device.synchronize();
        device.release(other, kBytes);
      },
  };
  for (const Issue& issue : works) CHECK(early_releases(issue).empty());
}

// What runs on another queue is over for the host when the main queue, which it waits for, has
// waited for it.
TEST_CASE("memory of a communicator may be released when the device is behind its work") {
  for (const bool waits : {false, true}) {
    Machine machine(1);
    const auto make = machine.factory(0).make;
    const auto communicator = make({.id = {}, .rank = 0, .size = 1});
    QueuedDevice device(machine);
    void* const memory = device.allocate(kBytes);
    upload(device, memory);
    const auto uploaded = device.make_event(), summed = device.make_event();
    device.record(*uploaded);
    while (!communicator->ready()) {
    }
    communicator->wait(*uploaded);
    communicator->all_reduce_sum(kernels::Tensor(memory, kernels::Dtype::kF32, {kBytes / 4}));
    while (!communicator->ready()) {
    }
    communicator->record(*summed);
    if (waits) device.wait(*summed);
    device.synchronize();
    machine.wait_for_queues();
    device.release(memory, kBytes);
    const std::vector<std::string> said = machine.take_early_releases();
    CHECK(said.size() == (waits ? 0 : 1));
    for (const std::string& early : said)
      CHECK(comm::testing::contains(early, "released while a sum is queued"));
  }
}

TEST_CASE("a buffer goes when its device is done with it, also while an exception is on its way") {
  for (const bool throws : {false, true}) {
    Machine machine(1);
    QueuedDevice device(machine);
    try {
      const kernels::DeviceBuffer memory(device, kBytes);
      const kernels::HostBuffer host(device, kBytes);
      upload(device, memory.data());
      device.download_later(host.data(), memory.data(), kBytes);
      kernels::DeviceBuffer assigned(device, kBytes);
      upload(device, assigned.data());
      assigned = kernels::DeviceBuffer(device, kBytes);
      if (throws) throw Error(kExitUnexpected, "why not");
    } catch (const Error&) {
    }
    CHECK(machine.take_early_releases().empty());
  }
}

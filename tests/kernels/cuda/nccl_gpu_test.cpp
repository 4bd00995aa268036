// NCCL on this machine's GPU, as far as one member goes: its configuration, its mode that does not
// block, its parting. What needs a peer needs a second GPU, too (scripts/gpu_check.sh, nccl).
#include <chrono>
#include <thread>

#include "kernels/cuda/backend.h"
#include "tests/catch.h"
#include "tests/kernels/back_ends.h"

namespace seq1f1b::kernels::testing {
namespace {

template <class Condition>
bool comes_true(const Condition& condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace

TEST_CASE("a communicator of one member starts, adds up, gathers, parts, and can be aborted",
          "[nccl]") {
  const std::vector<NamedBackend> back_ends = back_ends_under_test();
  if (back_ends.empty()) return;
  const Backend backend = back_ends.front().make();
  Device& device = *backend.device;
  const cuda::Module& module = *cuda::load_module();
  const std::vector<double> numbers{1.5, -2, 3, 4};
  DeviceBuffer memory(device, 256);
  for (const bool aborted : {false, true}) {
    CommunicatorId id;
    std::string error;
    REQUIRE(module.make_communicator_id(id, error));
    const auto communicator =
        module.make_communicator(device, {.id = id, .multiprocessors = 4}, error);
    INFO(error);
    REQUIRE(communicator);
    REQUIRE(comes_true([&] { return communicator->ready(); }));
    const auto uploaded = device.make_event(), added = device.make_event();
    device.upload(memory.data(), numbers.data(), numbers.size() * sizeof(double));
    device.record(*uploaded);
    communicator->wait(*uploaded);
    // The types only tell NCCL how to read the same bytes: of one member nothing is added.
    for (const Dtype dtype : {Dtype::kF64, Dtype::kF32, Dtype::kBf16}) {
      const std::size_t bytes = numbers.size() * sizeof(double);
      const Tensor values(memory.data(), dtype,
                          {static_cast<std::int64_t>(bytes / dtype_bytes(dtype))});
      for (const auto collective : {&Communicator::all_reduce_sum,
                                    &Communicator::reduce_scatter_sum, &Communicator::all_gather}) {
        (communicator.get()->*collective)(values);
        REQUIRE(comes_true([&] { return communicator->ready(); }));
      }
    }
    communicator->record(*added);
    CHECK(comes_true([&] { return added->done(); }));
    CHECK(communicator->failure() == "");
    std::vector<double> back(numbers.size());
    device.download(back.data(), memory.data(), numbers.size() * sizeof(double));
    CHECK(back == numbers);
    if (aborted) communicator->abort();
  }
}

}  // namespace seq1f1b::kernels::testing

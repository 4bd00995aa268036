// Whether the main queue goes on while those of messages wait. Channels over NCCL stand on that, and
// CUDA does not promise it: streams that share a work queue hold each other up. Kernels that wait for
// the host play the communicators of a rank in the middle of a pipeline: of each one runs, a second
// stands behind it, and two more streams wait for both, as NCCL's own do (ncclLaunchFinish). Beside
// them the device does what a step does, and has five seconds for it.
#include <chrono>
#include <cstdio>
#include <memory>
#include <vector>

#include "kernels/cuda/backend.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/device_code/language.h"

using namespace seq1f1b::kernels;
using namespace seq1f1b::kernels::cuda;

namespace {

constexpr int kCommunicators = 6;  // four channels and two groups
constexpr int kBlocks = 4;         // multiprocessors of a channel (core/comm/direct_fabric.cpp)
constexpr std::chrono::seconds kPatience{5};

__global__ void wait_for_host(const volatile int* message) {
  while (*message == 0) __nanosleep(1000);
}
__global__ void add_one(int* counter) { *counter += 1; }

class Waiting {
 public:
  Waiting() {
    int lowest = 0, highest = 0;
    check(cudaDeviceGetStreamPriorityRange(&lowest, &highest), "asking for priorities");
    check(cudaStreamCreateWithPriority(&messages_, cudaStreamNonBlocking, highest), "a stream");
    for (cudaStream_t& stream : behind_)
      check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream");
  }
  void issue(const int* message) {
    for (int receive = 0; receive < 2; ++receive) {
      SEQ1F1B_LAUNCH(wait_for_host, kBlocks, 32, 0, messages_, message);
      check(cudaEventRecord(came_.handle(), messages_), "recording an event");
      for (cudaStream_t stream : behind_)
        check(cudaStreamWaitEvent(stream, came_.handle(), 0), "waiting for an event");
    }
  }
  bool done() { return came_.done(); }

 private:
  cudaStream_t messages_ = nullptr, behind_[2] = {};
  CudaEvent came_;
};

template <class Condition>
bool comes_true(const Condition& condition) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!condition())
    if (std::chrono::steady_clock::now() > end) return false;
  return true;
}

// Says whether the device did in time what `issue` asks for.
template <class Issue>
bool goes_on(CudaDevice& device, const char* what, const Issue& issue) {
  std::printf("beside messages that have not come: %s ", what);
  std::fflush(stdout);  // the last word of a process whose call never returns
  issue();
  const auto event = device.make_event();
  device.record(*event);
  const bool done = comes_true([&] { return event->done(); });
  std::printf("%s\n", done ? "is done" : "WAITS");
  return done;
}

int run() {
  ask_for_work_queues();
  std::string why;
  const std::vector<Gpu> gpus = usable_gpus(why);
  if (gpus.empty()) {
    std::printf("skipped, no GPU: %s\n", why.c_str());
    return 0;
  }
  CudaDevice device(gpus.front(), true);
  auto* const message = static_cast<int*>(device.allocate_host(sizeof(int)));
  auto* const result = static_cast<int*>(device.allocate_host(sizeof(int)));
  DeviceBuffer counter(device, 256), other(device, 256);
  auto* const count = reinterpret_cast<int*>(counter.data());
  const auto record = [&] { SEQ1F1B_LAUNCH(add_one, 1, 1, 0, device.stream(), count); };
  std::vector<Waiting> communicators(kCommunicators);

  // Kernels are loaded and the record is made while nothing waits, as a job does it.
  int start = 10;
  device.upload(count, &start, sizeof start);
  *message = 1;
  for (Waiting& communicator : communicators) communicator.issue(message);
  device.replay(1, record);
  check(cudaDeviceSynchronize(), "warming up");

  *reinterpret_cast<volatile int*>(message) = 0;
  for (Waiting& communicator : communicators) communicator.issue(message);
  bool good = goes_on(device, "a record", [&] { device.replay(1, record); });
  good = good && goes_on(device, "a kernel", record);
  good = good && goes_on(device, "an upload", [&] {
           start = 20;
           device.upload(other.data(), &start, sizeof start);
         });
  good = good && goes_on(device, "a copy", [&] { device.copy(other.data(), count, sizeof(int)); });
  good = good && goes_on(device, "a download", [&] {
           device.stamp(0);
           device.download_later(result, other.data(), sizeof(int));
           device.stamp(1);
         });
  for (Waiting& communicator : communicators) good = good && !communicator.done();

  *reinterpret_cast<volatile int*>(message) = 1;
  for (Waiting& communicator : communicators)
    good = comes_true([&] { return communicator.done(); }) && good;
  device.synchronize();
  good = good && *result == 13;  // by the record, twice, and by the kernel
  std::printf("%d communicators: %s\n", kCommunicators, good ? "as it should be" : "FAILED");
  device.release_host(message, sizeof(int));
  device.release_host(result, sizeof(int));
  return good ? 0 : 1;
}

}  // namespace

int main() {
  try {
    return run();
  } catch (const seq1f1b::Error& error) {
    std::fprintf(stderr, "queues: %s\n", error.what());
    return error.code();
  }
}

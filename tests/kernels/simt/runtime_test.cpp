#include <cstring>
#include <vector>

#include "kernels/cuda/device_code/language.h"
#include "kernels/simt/kernel_report.h"
#include "tests/catch.h"

namespace seq1f1b::simt::testing {
namespace {

__global__ void add(float* values, float amount) { values[threadIdx.x] += amount; }
__global__ void set(float* values, float value) { values[threadIdx.x] = value; }
__global__ void twice(float* values) { values[threadIdx.x] *= 2; }
__global__ void sums(const float* a, const float* b, float* c) {
  c[threadIdx.x] = a[threadIdx.x] + b[threadIdx.x];
}
__global__ void hangs() {
  if (threadIdx.x == 0) __syncthreads();
  __syncwarp();
}
__global__ void takes_long_and_double(double* out, long long a, double b) {
  *out = static_cast<double>(a) + b;
}
__global__ void uses_shared(float* out) {
  SEQ1F1B_DYNAMIC_SHARED(memory);
  memory[50 * 1024 - 1] = 1;
  *out = memory[50 * 1024 - 1];
}

constexpr int kCount = 32;

// Two streams, device and pinned memory of kCount numbers each.
struct Fixture {
  cudaStream_t one, two;
  cudaEvent_t event;
  float *device, *other, *pinned;
  Fixture() {
    REQUIRE(cudaStreamCreateWithFlags(&one, cudaStreamNonBlocking) == cudaSuccess);
    REQUIRE(cudaStreamCreateWithFlags(&two, cudaStreamNonBlocking) == cudaSuccess);
    REQUIRE(cudaEventCreateWithFlags(&event, cudaEventDisableTiming) == cudaSuccess);
    REQUIRE(cudaMalloc(&device, kCount * sizeof(float)) == cudaSuccess);
    REQUIRE(cudaMalloc(&other, kCount * sizeof(float)) == cudaSuccess);
    REQUIRE(cudaMallocHost(&pinned, kCount * sizeof(float)) == cudaSuccess);
  }
  ~Fixture() {
    cudaDeviceReset();
    cudaFree(device);
    cudaFree(other);
    cudaFreeHost(pinned);
    cudaEventDestroy(event);
    cudaStreamDestroy(one);
    cudaStreamDestroy(two);
  }
  float first(float* memory) const {
    float value;
    REQUIRE(cudaMemcpy(&value, memory, sizeof value, cudaMemcpyDeviceToHost) == cudaSuccess);
    return value;
  }
};

}  // namespace

TEST_CASE("arguments of a launch are converted to the parameters' types", "[simt]") {
  double out = 0;
  SEQ1F1B_LAUNCH(takes_long_and_double, 1, 1, 0, nullptr, &out, 3, 1.5f);
  CHECK(out == 4.5);
}

TEST_CASE_METHOD(Fixture, "streams run only when somebody waits or asks", "[simt]") {
  SEQ1F1B_LAUNCH(set, 1, kCount, 0, one, pinned, 1);
  pinned[0] = 5;
  SEQ1F1B_LAUNCH(add, 1, kCount, 0, one, pinned, 2);
  CHECK(pinned[0] == 5);  // as a launch that has not begun
  CHECK(cudaStreamSynchronize(one) == cudaSuccess);
  CHECK(pinned[0] == 3);

  SEQ1F1B_LAUNCH(add, 1, kCount, 0, one, pinned, 2);
  REQUIRE(cudaEventRecord(event, one) == cudaSuccess);
  int questions = 0;
  while (cudaEventQuery(event) == cudaErrorNotReady && questions < 100) ++questions;
  CHECK(pinned[0] == 5);
  CHECK(cudaStreamQuery(one) == cudaSuccess);
}

TEST_CASE_METHOD(Fixture, "only events order streams", "[simt]") {
  int wrong_with = 0, wrong_without = 0;
  for (bool dependency : {true, false})
    for (int repeat = 0; repeat < 40; ++repeat) {
      SEQ1F1B_LAUNCH(set, 1, kCount, 0, one, device, repeat);
      REQUIRE(cudaEventRecord(event, one) == cudaSuccess);
      if (dependency) REQUIRE(cudaStreamWaitEvent(two, event) == cudaSuccess);
      SEQ1F1B_LAUNCH(add, 1, kCount, 0, two, device, 1000);
      REQUIRE(cudaDeviceSynchronize() == cudaSuccess);
      (dependency ? wrong_with : wrong_without) +=
          first(device) != static_cast<float>(repeat + 1000);
    }
  CHECK(wrong_with == 0);
  CHECK(wrong_without > 5);
  CHECK(wrong_without < 35);
}

TEST_CASE_METHOD(Fixture, "a wait is for the record before it", "[simt]") {
  // Never recorded: nothing to wait for.
  REQUIRE(cudaStreamWaitEvent(two, event) == cudaSuccess);
  REQUIRE(cudaEventQuery(event) == cudaSuccess);
  REQUIRE(cudaStreamSynchronize(two) == cudaSuccess);
  SEQ1F1B_LAUNCH(set, 1, kCount, 0, one, device, 1);
  REQUIRE(cudaEventRecord(event, one) == cudaSuccess);
  REQUIRE(cudaStreamWaitEvent(two, event) == cudaSuccess);
  // Recorded again behind work that waits for the other stream: no cycle.
  cudaEvent_t back;
  REQUIRE(cudaEventCreate(&back) == cudaSuccess);
  SEQ1F1B_LAUNCH(twice, 1, kCount, 0, two, device);
  REQUIRE(cudaEventRecord(back, two) == cudaSuccess);
  REQUIRE(cudaStreamWaitEvent(one, back) == cudaSuccess);
  SEQ1F1B_LAUNCH(add, 1, kCount, 0, one, device, 5);
  REQUIRE(cudaEventRecord(event, one) == cudaSuccess);
  REQUIRE(cudaEventSynchronize(event) == cudaSuccess);
  CHECK(first(device) == 7);
  cudaEventDestroy(back);
}

TEST_CASE_METHOD(Fixture, "pageable memory is read at once, pinned memory when its turn comes",
                 "[simt]") {
  const std::size_t bytes = kCount * sizeof(float);
  std::vector<float> pageable(kCount, 1);
  REQUIRE(cudaMemcpyAsync(device, pageable.data(), bytes, cudaMemcpyHostToDevice, one) ==
          cudaSuccess);
  pageable[0] = 99;
  pinned[0] = 2;
  REQUIRE(cudaMemcpyAsync(other, pinned, bytes, cudaMemcpyHostToDevice, one) == cudaSuccess);
  pinned[0] = 3;
  REQUIRE(cudaStreamSynchronize(one) == cudaSuccess);
  CHECK(first(device) == 1);
  CHECK(first(other) == 3);  // the caller changed it too early

  pinned[0] = 0;
  REQUIRE(cudaMemcpyAsync(pinned, device, bytes, cudaMemcpyDeviceToHost, one) == cudaSuccess);
  CHECK(pinned[0] == 0);
  REQUIRE(cudaStreamSynchronize(one) == cudaSuccess);
  CHECK(pinned[0] == 1);
  SEQ1F1B_LAUNCH(add, 1, kCount, 0, one, device, 1);
  REQUIRE(cudaMemcpyAsync(pageable.data(), device, bytes, cudaMemcpyDeviceToHost, one) ==
          cudaSuccess);
  CHECK(pageable[0] == 2);  // such a copy waits
}

TEST_CASE_METHOD(Fixture, "copies that leave their memory or go the wrong way are refused",
                 "[simt]") {
  const std::size_t bytes = kCount * sizeof(float);
  std::vector<float> host(2 * kCount);
  CHECK(cudaMemcpyAsync(device, host.data(), bytes + 1, cudaMemcpyHostToDevice, one) ==
        cudaErrorInvalidValue);
  CHECK(cudaMemcpyAsync(device + 1, host.data(), bytes, cudaMemcpyHostToDevice, one) ==
        cudaErrorInvalidValue);
  CHECK(cudaMemcpyAsync(host.data(), device, bytes, cudaMemcpyHostToDevice, one) ==
        cudaErrorInvalidValue);
  CHECK(cudaMemsetAsync(device, 0, bytes + 4, one) == cudaErrorInvalidValue);
  CHECK(cudaGetLastError() == cudaErrorInvalidValue);
  CHECK(cudaGetLastError() == cudaSuccess);
  void* none = nullptr;
  CHECK(cudaMalloc(&none, std::size_t{1} << 50) == cudaErrorMemoryAllocation);
  cudaGetLastError();
}

TEST_CASE_METHOD(Fixture, "fresh memory is NaN", "[simt]") {
  const float value = first(device);
  CHECK(value != value);
}

TEST_CASE_METHOD(Fixture, "a graph replays the recorded work with its arguments", "[simt]") {
  float amount = 3;
  REQUIRE(cudaMemset(device, 0, kCount * sizeof(float)) == cudaSuccess);
  REQUIRE(cudaStreamBeginCapture(one, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
  SEQ1F1B_LAUNCH(add, 1, kCount, 0, one, device, amount);
  SEQ1F1B_LAUNCH(twice, 1, kCount, 0, one, device);
  amount = 100;
  CHECK(cudaStreamSynchronize(two) == cudaSuccess);
  cudaGraph_t graph;
  REQUIRE(cudaStreamEndCapture(one, &graph) == cudaSuccess);
  std::size_t count = 0;
  CHECK(cudaGraphGetNodes(graph, nullptr, &count) == cudaSuccess);
  CHECK(count == 2);
  cudaGraphExec_t executable;
  REQUIRE(cudaGraphInstantiate(&executable, graph) == cudaSuccess);
  REQUIRE(cudaGraphDestroy(graph) == cudaSuccess);
  CHECK(cudaStreamSynchronize(one) == cudaSuccess);
  CHECK(first(device) == 0);  // recording runs nothing
  for (int replay = 0; replay < 3; ++replay)
    REQUIRE(cudaGraphLaunch(executable, one) == cudaSuccess);
  CHECK(cudaStreamSynchronize(one) == cudaSuccess);
  CHECK(first(device) == ((3 * 2 + 3) * 2 + 3) * 2);
  CHECK(cudaGraphExecDestroy(executable) == cudaSuccess);
}

TEST_CASE_METHOD(Fixture, "a graph of two streams keeps to their events", "[simt]") {
  for (bool joined : {true, false}) {
    cudaEvent_t back;
    REQUIRE(cudaEventCreate(&back) == cudaSuccess);
    REQUIRE(cudaStreamBeginCapture(one, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    SEQ1F1B_LAUNCH(set, 1, kCount, 0, one, device, 1);
    REQUIRE(cudaEventRecord(event, one) == cudaSuccess);
    REQUIRE(cudaStreamWaitEvent(two, event) == cudaSuccess);
    SEQ1F1B_LAUNCH(set, 1, kCount, 0, two, other, 10);
    SEQ1F1B_LAUNCH(sums, 1, kCount, 0, two, device, other, other);
    REQUIRE(cudaEventRecord(back, two) == cudaSuccess);
    if (joined) {
      REQUIRE(cudaStreamWaitEvent(one, back) == cudaSuccess);
      SEQ1F1B_LAUNCH(add, 1, kCount, 0, one, device, 100);
    }
    cudaGraph_t graph;
    const cudaError_t ended = cudaStreamEndCapture(one, &graph);
    cudaEventDestroy(back);
    CHECK(ended == (joined ? cudaSuccess : cudaErrorStreamCaptureUnjoined));
    if (!joined) continue;
    cudaGraphExec_t executable;
    REQUIRE(cudaGraphInstantiate(&executable, graph) == cudaSuccess);
    for (int replay = 0; replay < 10; ++replay) {
      REQUIRE(cudaGraphLaunch(executable, one) == cudaSuccess);
      REQUIRE(cudaStreamSynchronize(one) == cudaSuccess);
      REQUIRE(first(other) == 11);
      REQUIRE(first(device) == 101);
    }
    cudaGraphExecDestroy(executable);
    cudaGraphDestroy(graph);
  }
  cudaGetLastError();
}

TEST_CASE_METHOD(Fixture, "recording forbids what waits or allocates", "[simt]") {
  REQUIRE(cudaStreamBeginCapture(one, cudaStreamCaptureModeGlobal) == cudaSuccess);
  void* memory;
  CHECK(cudaMalloc(&memory, 16) == cudaErrorStreamCaptureUnsupported);
  CHECK(cudaStreamSynchronize(one) == cudaErrorStreamCaptureUnsupported);
  cudaGraph_t graph;
  CHECK(cudaStreamEndCapture(one, &graph) == cudaErrorStreamCaptureInvalidated);
  cudaGetLastError();
}

TEST_CASE_METHOD(Fixture, "a failed kernel fails every later call, with its report", "[simt]") {
  SEQ1F1B_LAUNCH(hangs, 1, 32, 0, one);
  SEQ1F1B_LAUNCH(set, 1, kCount, 0, one, pinned, 7);
  pinned[0] = 1;
  CHECK(cudaStreamSynchronize(one) == cudaErrorLaunchFailure);
  CHECK(contains(cudaGetErrorString(cudaErrorLaunchFailure), "kernel hangs"));
  CHECK(pinned[0] == 1);
  CHECK(cudaGetLastError() == cudaErrorLaunchFailure);
  CHECK(cudaMalloc(&other, 16) == cudaErrorLaunchFailure);
  CHECK_THROWS_AS([&] { SEQ1F1B_LAUNCH(twice, 1, kCount, 0, one, device); }(), Error);
  cudaDeviceReset();
  CHECK(cudaStreamSynchronize(one) == cudaSuccess);
}

TEST_CASE_METHOD(Fixture, "launches that a GPU refuses are refused", "[simt]") {
  CHECK_THROWS_AS([&] { SEQ1F1B_LAUNCH(twice, 1, 1025, 0, one, device); }(), Error);
  CHECK_THROWS_AS([&] { SEQ1F1B_LAUNCH(twice, 0, 32, 0, one, device); }(), Error);
  CHECK_THROWS_AS([&] { SEQ1F1B_LAUNCH(twice, dim3(1, 65536), 32, 0, one, device); }(), Error);
  const std::size_t bytes = 50 * 1024;
  CHECK_THROWS_AS([&] { SEQ1F1B_LAUNCH(uses_shared, 1, 1, bytes, one, device); }(), Error);
  kernels::cuda::allow_shared_bytes(&uses_shared, bytes);
  SEQ1F1B_LAUNCH(uses_shared, 1, 1, bytes, one, device);
  CHECK(cudaStreamSynchronize(one) == cudaSuccess);
  CHECK(first(device) == 1);
  CHECK_THROWS_AS(kernels::cuda::allow_shared_bytes(&uses_shared, 300 * 1024), Error);
  cudaGetLastError();
}

TEST_CASE_METHOD(Fixture, "events tell the time between them", "[simt]") {
  cudaEvent_t begin, end;
  REQUIRE(cudaEventCreate(&begin) == cudaSuccess);
  REQUIRE(cudaEventCreate(&end) == cudaSuccess);
  REQUIRE(cudaEventRecord(begin, one) == cudaSuccess);
  SEQ1F1B_LAUNCH(set, 2000, kCount, 0, one, device, 1);
  REQUIRE(cudaEventRecord(end, one) == cudaSuccess);
  float milliseconds = -1;
  CHECK(cudaEventElapsedTime(&milliseconds, begin, end) == cudaErrorNotReady);
  REQUIRE(cudaEventSynchronize(end) == cudaSuccess);
  CHECK(cudaEventElapsedTime(&milliseconds, begin, end) == cudaSuccess);
  CHECK(milliseconds > 0);
  CHECK(cudaEventElapsedTime(&milliseconds, begin, event) == cudaErrorInvalidResourceHandle);
  cudaGetLastError();
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
}

}  // namespace seq1f1b::simt::testing

#include "kernels/simt/runtime.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "kernels/common/errors.h"
#include "kernels/simt/block.h"
#include "kernels/simt/launch.h"

namespace seq1f1b::simt {
namespace {

constinit thread_local cudaError_t t_last_error = cudaSuccess;

bool may_run(const CUstream_st& stream) {
  if (stream.queue.empty()) return false;
  const Task& next = stream.queue.front();
  return !next.wait || next.wait->done >= next.number;
}

}  // namespace

cudaError_t fail(cudaError_t error) {
  if (error != cudaSuccess) t_last_error = error;  // cudaErrorNotReady, too, as in CUDA
  return error;
}

Runtime::Runtime() : random_(seed() * 2 + 1) {}

Runtime& Runtime::get() {
  static Runtime* runtime = new Runtime;  // outlives every static that may still free memory
  return *runtime;
}

std::uint64_t Runtime::random() { return next_random(random_); }

bool Runtime::known(cudaStream_t stream) const {
  return std::find(streams.begin(), streams.end(), stream) != streams.end();
}

bool Runtime::capturing() const {
  for (const auto* stream : streams)
    if (stream->capture && stream->capture->thread == std::this_thread::get_id()) return true;
  return false;
}

void Runtime::fault(const std::string& what) {
  if (sticky != cudaSuccess) return;
  sticky = cudaErrorLaunchFailure;
  report = what;
  std::fprintf(stderr, "simt: %s\n", what.c_str());
}

bool Runtime::step() {
  std::vector<cudaStream_t> candidates;
  for (auto* stream : streams)
    if (may_run(*stream)) candidates.push_back(stream);
  if (candidates.empty()) return false;
  CUstream_st& stream = *candidates[random() % candidates.size()];
  const Task task = std::move(stream.queue.front());
  stream.queue.pop_front();
  if (task.run && sticky == cudaSuccess) task.run();
  if (task.record) {
    task.record->done = task.number;
    task.record->time = std::chrono::steady_clock::now();
  }
  return true;
}

void Runtime::run_until(const std::function<bool()>& done) {
  while (!done()) SEQ1F1B_ASSERT(step(), "the emulated streams wait for one another");
}

void Runtime::run_all() {
  while (step()) {
  }
}

cudaError_t Runtime::submit(cudaStream_t stream, Task task) {
  if (sticky != cudaSuccess) return fail(sticky);
  if (!stream) {
    // The default stream runs after all that is queued on blocking streams and before what follows.
    if (capturing()) return fail(cudaErrorStreamCaptureUnsupported);
    const auto blocking_done = [this] {
      for (const auto* other : streams)
        if (other->blocking && !other->queue.empty()) return false;
      return true;
    };
    run_until(blocking_done);
    if (task.wait) run_until([&] { return task.wait->done >= task.number; });
    if (task.run && sticky == cudaSuccess) task.run();
    if (task.record) {
      task.record->done = task.number;
      task.record->time = std::chrono::steady_clock::now();
    }
    return sticky == cudaSuccess ? cudaSuccess : fail(sticky);
  }
  if (!known(stream)) return fail(cudaErrorInvalidResourceHandle);
  if (!stream->capture) {
    stream->queue.push_back(std::move(task));
    return cudaSuccess;
  }
  Capture& capture = *stream->capture;
  if (capture.invalid) return fail(cudaErrorStreamCaptureInvalidated);
  capture.nodes.push_back({std::move(task.run), stream->last_nodes});
  stream->last_nodes = {static_cast<int>(capture.nodes.size()) - 1};
  return cudaSuccess;
}

// Any order that honours the dependencies, drawn anew each time.
void Runtime::run_nodes(const std::vector<Node>& nodes) {
  std::vector<bool> done(nodes.size());
  for (std::size_t count = 0; count < nodes.size(); ++count) {
    std::vector<std::size_t> candidates;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
      bool ready = !done[i];
      for (int before : nodes[i].after) ready = ready && done[static_cast<std::size_t>(before)];
      if (ready) candidates.push_back(i);
    }
    const std::size_t i = candidates[random() % candidates.size()];
    if (sticky == cudaSuccess) nodes[i].run();
    done[i] = true;
  }
}

cudaError_t enqueue_kernel(KernelCall call, const void* kernel, KernelCount& count,
                           cudaStream_t stream) {
  Runtime& runtime = Runtime::get();
  const std::scoped_lock lock(runtime.mutex);
  const std::uint64_t threads = std::uint64_t{call.block.x} * call.block.y * call.block.z;
  if (threads == 0 || threads > 1024 || call.block.z > 64 || call.grid.x == 0 ||
      call.grid.x > 0x7fffffff || call.grid.y == 0 || call.grid.y > 65535 || call.grid.z == 0 ||
      call.grid.z > 65535)
    return fail(cudaErrorInvalidConfiguration);
  const auto allowed = runtime.allowed_shared_bytes.find(kernel);
  const std::size_t limit =
      allowed == runtime.allowed_shared_bytes.end() ? kDefaultSharedBytes : allowed->second;
  if (call.shared_bytes > limit) return fail(cudaErrorInvalidValue);
  if (allowed != runtime.allowed_shared_bytes.end())
    call.shared_limit = static_cast<std::size_t>(shared_bytes_optin());
  return runtime.submit(stream, {[call = std::move(call), &count] {
                                   ++count.runs;
                                   if (const std::string report = run_kernel(call); !report.empty())
                                     Runtime::get().fault(report);
                                 },
                                 nullptr, nullptr});
}

}  // namespace seq1f1b::simt

using seq1f1b::simt::fail;
using seq1f1b::simt::Runtime;

cudaError_t cudaGetLastError() {
  const std::scoped_lock lock(Runtime::get().mutex);
  const cudaError_t error =
      Runtime::get().sticky != cudaSuccess ? Runtime::get().sticky : seq1f1b::simt::t_last_error;
  seq1f1b::simt::t_last_error = cudaSuccess;
  return error;
}
cudaError_t cudaPeekAtLastError() {
  const std::scoped_lock lock(Runtime::get().mutex);
  return Runtime::get().sticky != cudaSuccess ? Runtime::get().sticky : seq1f1b::simt::t_last_error;
}

#define SEQ1F1B_SIMT_ERRORS(X)                                                                    \
  X(cudaSuccess, "no error")                                                                      \
  X(cudaErrorInvalidValue, "invalid argument")                                                    \
  X(cudaErrorMemoryAllocation, "out of memory")                                                   \
  X(cudaErrorInvalidConfiguration, "invalid configuration argument")                              \
  X(cudaErrorInvalidDevice, "invalid device ordinal")                                             \
  X(cudaErrorInvalidResourceHandle, "invalid resource handle")                                    \
  X(cudaErrorNotReady, "device not ready")                                                        \
  X(cudaErrorLaunchFailure, "unspecified launch failure")                                         \
  X(cudaErrorNotSupported, "operation not supported")                                             \
  X(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is capturing")        \
  X(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error during capture") \
  X(cudaErrorStreamCaptureUnjoined, "capture has an unjoined stream")                             \
  X(cudaErrorStreamCaptureIsolation, "dependency on uncaptured work")

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
#define SEQ1F1B_SIMT_NAME(name, text) \
  case name:                          \
    return #name;
    SEQ1F1B_SIMT_ERRORS(SEQ1F1B_SIMT_NAME)
    default:
      return "cudaErrorUnknown";
  }
}

const char* cudaGetErrorString(cudaError_t error) {
  Runtime& runtime = Runtime::get();
  const std::scoped_lock lock(runtime.mutex);
  if (error == cudaErrorLaunchFailure && !runtime.report.empty()) return runtime.report.c_str();
  switch (error) {
#define SEQ1F1B_SIMT_TEXT(name, text) \
  case name:                          \
    return text;
    SEQ1F1B_SIMT_ERRORS(SEQ1F1B_SIMT_TEXT)
    default:
      return "unknown error";
  }
}

// Streams, events, and the graphs that streams record.
#include <algorithm>

#include "kernels/simt/runtime.h"

namespace seq1f1b::simt {
namespace {

bool is_stream(const Runtime& runtime, cudaStream_t stream) {
  return stream == nullptr || runtime.known(stream);
}

bool drained(const Runtime& runtime, cudaStream_t stream) {
  if (stream) return stream->queue.empty();
  return std::all_of(runtime.streams.begin(), runtime.streams.end(), [](const CUstream_st* other) {
    return !other->blocking || other->queue.empty();
  });
}

// Some progress per question, so that asking again and again ends.
void let_some_run(Runtime& runtime) {
  for (std::uint64_t count = runtime.random() % 3; count > 0 && runtime.step(); --count) {
  }
}

// Whether all nodes come before or are among `last`.
bool joined(const Capture& capture, std::vector<int> last) {
  std::vector<bool> reached(capture.nodes.size());
  while (!last.empty()) {
    const auto node = static_cast<std::size_t>(last.back());
    last.pop_back();
    if (reached[node]) continue;
    reached[node] = true;
    const auto& after = capture.nodes[node].after;
    last.insert(last.end(), after.begin(), after.end());
  }
  return std::find(reached.begin(), reached.end(), false) == reached.end();
}

cudaError_t create_stream(cudaStream_t* stream, unsigned flags) {
  Runtime& runtime = Runtime::get();
  const std::scoped_lock lock(runtime.mutex);
  *stream = new CUstream_st;
  (*stream)->blocking = !(flags & cudaStreamNonBlocking);
  runtime.streams.push_back(*stream);
  return fail(runtime.sticky);
}

}  // namespace
}  // namespace seq1f1b::simt

using namespace seq1f1b::simt;

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return create_stream(stream, cudaStreamDefault);
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  return create_stream(stream, flags);
}
cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) {
  return create_stream(stream, flags);
}

// Work still queued is done first; the real one returns at once and lets it finish.
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  Runtime& runtime = Runtime::get();
  const std::scoped_lock lock(runtime.mutex);
  if (!stream || !runtime.known(stream)) return fail(cudaErrorInvalidResourceHandle);
  runtime.run_until([&] { return stream->queue.empty(); });
  std::erase(runtime.streams, stream);
  delete stream;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  Runtime& runtime = Runtime::get();
  const std::scoped_lock lock(runtime.mutex);
  if (!is_stream(runtime, stream)) return fail(cudaErrorInvalidResourceHandle);
  if (stream ? stream->capture != nullptr : runtime.capturing()) {
    if (stream) stream->capture->invalid = true;
    return fail(cudaErrorStreamCaptureUnsupported);
  }
  runtime.run_until([&] { return drained(runtime, stream); });
  return fail(runtime.sticky);
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  Runtime& runtime = Runtime::get();
  const std::scoped_lock lock(runtime.mutex);
  if (!is_stream(runtime, stream)) return fail(cudaErrorInvalidResourceHandle);
  if (stream && stream->capture) return fail(cudaErrorStreamCaptureUnsupported);
  let_some_run(runtime);
  if (runtime.sticky != cudaSuccess) return fail(runtime.sticky);
  return fail(drained(runtime, stream) ? cudaSuccess : cudaErrorNotReady);
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  Runtime& runtime = Runtime::get();
  const std::scoped_lock lock(runtime.mutex);
  return runtime.submit(stream, {[=] { function(data); }, nullptr, nullptr});
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  *event = new CUevent_st{std::make_shared<EventState>()};
  (*event)->state->timing = !(flags & cudaEventDisableTiming);
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
  if (!event) return fail(cudaErrorInvalidResourceHandle);
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  Runtime& runtime = Runtime::get();
  const std::scoped_lock lock(runtime.mutex);
  if (!event || !is_stream(runtime, stream)) return fail(cudaErrorInvalidResourceHandle);
  EventState& state = *event->state;
  if (stream && stream->capture) {
    state.capture = stream->capture;
    state.nodes = stream->last_nodes;
    return cudaSuccess;
  }
  state.capture.reset();
  Task task;
  task.record = event->state;
  task.number = ++state.issued;
  return runtime.submit(stream, std::move(task));
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  Runtime& runtime = Runtime::get();
  const std::scoped_lock lock(runtime.mutex);
  if (!event || !is_stream(runtime, stream)) return fail(cudaErrorInvalidResourceHandle);
  EventState& state = *event->state;
  if (state.capture) {
    if (!stream || (stream->capture && stream->capture != state.capture))
      return fail(cudaErrorStreamCaptureIsolation);
    if (!stream->capture) {
      stream->capture = state.capture;  // joins
      stream->last_nodes.clear();
    }
    auto& last = stream->last_nodes;
    last.insert(last.end(), state.nodes.begin(), state.nodes.end());
    return cudaSuccess;
  }
  if (stream && stream->capture) {
    stream->capture->invalid = true;
    return fail(cudaErrorStreamCaptureIsolation);
  }
  if (state.issued == 0) return fail(runtime.sticky);
  Task task;
  task.wait = event->state;
  task.number = state.issued;
  return runtime.submit(stream, std::move(task));
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  Runtime& runtime = Runtime::get();
  const std::scoped_lock lock(runtime.mutex);
  if (!event) return fail(cudaErrorInvalidResourceHandle);
  if (event->state->capture) return fail(cudaErrorStreamCaptureUnsupported);
  let_some_run(runtime);
  if (runtime.sticky != cudaSuccess) return fail(runtime.sticky);
  return fail(event->state->done >= event->state->issued ? cudaSuccess : cudaErrorNotReady);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  Runtime& runtime = Runtime::get();
  const std::scoped_lock lock(runtime.mutex);
  if (!event) return fail(cudaErrorInvalidResourceHandle);
  if (event->state->capture) return fail(cudaErrorStreamCaptureUnsupported);
  runtime.run_until([&] { return event->state->done >= event->state->issued; });
  return fail(runtime.sticky);
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t first, cudaEvent_t second) {
  Runtime& runtime = Runtime::get();
  const std::scoped_lock lock(runtime.mutex);
  if (!first || !second || !first->state->timing || !second->state->timing ||
      first->state->issued == 0 || second->state->issued == 0)
    return fail(cudaErrorInvalidResourceHandle);
  for (const auto& state : {first->state, second->state})
    if (state->done < state->issued) return cudaErrorNotReady;
  *milliseconds =
      std::chrono::duration<float, std::milli>(second->state->time - first->state->time).count();
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) {
  Runtime& runtime = Runtime::get();
  const std::scoped_lock lock(runtime.mutex);
  if (!stream) return fail(cudaErrorStreamCaptureUnsupported);
  if (!runtime.known(stream)) return fail(cudaErrorInvalidResourceHandle);
  if (stream->capture) return fail(cudaErrorInvalidValue);
  stream->capture = std::make_shared<Capture>();
  stream->capture->origin = stream;
  stream->last_nodes.clear();
  return cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  Runtime& runtime = Runtime::get();
  const std::scoped_lock lock(runtime.mutex);
  *status = !stream || !stream->capture ? cudaStreamCaptureStatusNone
            : stream->capture->invalid  ? cudaStreamCaptureStatusInvalidated
                                        : cudaStreamCaptureStatusActive;
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  Runtime& runtime = Runtime::get();
  const std::scoped_lock lock(runtime.mutex);
  *graph = nullptr;
  if (!stream || !stream->capture || stream->capture->origin != stream)
    return fail(cudaErrorInvalidValue);
  const std::shared_ptr<Capture> capture = stream->capture;
  const bool complete = joined(*capture, stream->last_nodes);
  for (auto* member : runtime.streams)
    if (member->capture == capture) {
      member->capture.reset();
      member->last_nodes.clear();
    }
  if (capture->invalid) return fail(cudaErrorStreamCaptureInvalidated);
  if (!complete) return fail(cudaErrorStreamCaptureUnjoined);
  *graph = new CUgraph_st{std::make_shared<const std::vector<Node>>(std::move(capture->nodes))};
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t graph,
                                 unsigned long long) {
  if (!graph) return fail(cudaErrorInvalidValue);
  *executable = new CUgraphExec_st{graph->nodes};
  return cudaSuccess;
}
cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t* nodes, std::size_t* count) {
  if (!graph || nodes) return fail(cudaErrorInvalidValue);  // only the count is offered here
  *count = graph->nodes->size();
  return cudaSuccess;
}
cudaError_t cudaGraphUpload(cudaGraphExec_t executable, cudaStream_t) {
  return executable ? cudaSuccess : fail(cudaErrorInvalidValue);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t stream) {
  Runtime& runtime = Runtime::get();
  const std::scoped_lock lock(runtime.mutex);
  if (!executable || (stream && stream->capture)) return fail(cudaErrorInvalidValue);
  return runtime.submit(stream, {[nodes = executable->nodes] { Runtime::get().run_nodes(*nodes); },
                                 nullptr, nullptr});
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  delete executable;
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  delete graph;
  return cudaSuccess;
}

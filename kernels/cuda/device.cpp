#include "kernels/cuda/device.h"

#include <algorithm>

#include "kernels/cuda/check.h"
#include "kernels/cuda/ranges.h"

namespace seq1f1b::kernels::cuda {

CudaEvent::CudaEvent() {
  check(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "creating an event");
}
CudaEvent::~CudaEvent() { cudaEventDestroy(event_); }
bool CudaEvent::has_passed() const { return cuda::has_passed(event_); }

CudaEvent& cuda_event(Event& event) {
  auto* const own = dynamic_cast<CudaEvent*>(&event);
  SEQ1F1B_ASSERT(own, "an event of another device");
  return *own;
}
CudaDevice& cuda_device(Device& device) {
  auto* const own = dynamic_cast<CudaDevice*>(&device);
  SEQ1F1B_ASSERT(own, "a device of another back end");
  return *own;
}
const CudaDevice& cuda_device(const Device& device) {
  return cuda_device(const_cast<Device&>(device));
}

CudaDevice::CudaDevice(const Gpu& gpu, bool graphs) : gpu_(gpu), graphs_wanted_(graphs) {
  check(cudaSetDevice(gpu.index), "choosing a GPU");
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, gpu.index), "asking for a GPU's properties");
  char bus_id[32] = {};
  check(cudaDeviceGetPCIBusId(bus_id, sizeof bus_id, gpu.index), "asking for a GPU's bus id");
  bus_id_ = bus_id;
  multiprocessors_ = properties.multiProcessorCount;
  shared_bytes_ = static_cast<int>(properties.sharedMemPerBlockOptin);
  memory_bytes_ = properties.totalGlobalMem;
  constexpr std::size_t kHalfGib = std::size_t{1} << 29;
  description_ = concat(properties.name, ", ", (memory_bytes_ + kHalfGib) >> 30,
                        " GiB, compute capability ", properties.major, ".", properties.minor);
  // Not ordered with the default stream, which libraries may use behind our back.
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
  staging_ = std::make_unique<StagingRing>(kStagingBytes);
  free_at_start_ = free_bytes();
}

CudaDevice::~CudaDevice() {
  forget_graphs();
  for (cudaEvent_t event : stamps_)
    if (event) cudaEventDestroy(event);
  staging_.reset();
  cudaStreamDestroy(stream_);
}

std::size_t CudaDevice::free_bytes() const {
  std::size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "asking for free memory");
  return free;
}

std::size_t CudaDevice::other_bytes() const {
  const std::size_t free = free_bytes() + allocated_;
  return free_at_start_ > free ? free_at_start_ - free : 0;
}

void* CudaDevice::allocate(std::size_t bytes) {
  if (bytes == 0) return nullptr;
  must_not_be_capturing("allocate");
  void* pointer = nullptr;
  const cudaError_t error = cudaMalloc(&pointer, bytes);
  if (error == cudaErrorMemoryAllocation) {
    (void)cudaGetLastError();
    throw Error(kExitUnexpected,
                concat("GPU memory: ", bytes, " bytes (", bytes >> 20, " MiB) of ", description_,
                       " are not available, ", free_bytes() >> 20,
                       " MiB are free; use a smaller model, micro-batch or sequence, or more "
                       "pipeline ranks, or end other programs on this GPU"));
  }
  check(error, "allocating GPU memory");
  allocated_ += bytes;
  return pointer;
}

// cudaFree waits for all streams of the GPU (CUDA C++ Programming Guide, "Stream Ordered Memory
// Allocator"), so for communicators, too, whose abort has begun and not ended.
void CudaDevice::release(void* pointer, std::size_t bytes) noexcept {
  if (!pointer) return;
  cudaFree(pointer);
  allocated_ -= bytes;
}

void* CudaDevice::allocate_host(std::size_t bytes) {
  if (bytes == 0) return nullptr;
  must_not_be_capturing("allocate_host");
  void* pointer = nullptr;
  if (cudaMallocHost(&pointer, bytes) != cudaSuccess) {
    (void)cudaGetLastError();
    throw Error(kExitUnexpected, concat("pinned host memory: ", bytes, " bytes (", bytes >> 20,
                                        " MiB) are not available; look at `ulimit -l` and at the "
                                        "memory limit of the job"));
  }
  return pointer;
}

void CudaDevice::release_host(void* pointer, std::size_t) noexcept {
  if (pointer) cudaFreeHost(pointer);
}

void CudaDevice::upload(void* device, const void* host, std::size_t bytes) {
  must_not_be_capturing("upload");
  staging_->upload(device, host, bytes, stream_);
}

void CudaDevice::download(void* host, const void* device, std::size_t bytes) {
  must_not_be_capturing("download");
  staging_->download(host, device, bytes, stream_);
}

void CudaDevice::download_later(void* host, const void* device, std::size_t bytes) {
  must_not_be_capturing("download");
  if (bytes == 0) return;
  check(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream_), "downloading");
}

void CudaDevice::copy(void* to, const void* from, std::size_t bytes) {
  if (bytes == 0) return;
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_), "copying");
}

void CudaDevice::synchronize() {
  must_not_be_capturing("synchronize");
  check(cudaStreamSynchronize(stream_), "waiting for the GPU");
}

std::unique_ptr<Event> CudaDevice::make_event() { return std::make_unique<CudaEvent>(); }

void CudaDevice::record(Event& event) {
  must_not_be_capturing("record");
  check(cudaEventRecord(cuda_event(event).handle(), stream_), "recording an event");
}

void CudaDevice::wait(Event& event) {
  must_not_be_capturing("wait");
  check(cudaStreamWaitEvent(stream_, cuda_event(event).handle(), 0), "waiting for an event");
}

void CudaDevice::stamp(int index) {
  must_not_be_capturing("stamp");
  SEQ1F1B_ASSERT(index >= 0 && index < kTimeStamps, "stamp ", index);
  const auto place = static_cast<std::size_t>(index);
  if (place >= stamps_.size()) stamps_.resize(place + 1, nullptr);
  if (!stamps_[place]) check(cudaEventCreate(&stamps_[place]), "creating a time stamp");
  check(cudaEventRecord(stamps_[place], stream_), "recording a time stamp");
}

double CudaDevice::seconds_between(int first, int second) {
  for (int index : {first, second})
    SEQ1F1B_ASSERT(index >= 0 && static_cast<std::size_t>(index) < stamps_.size() &&
                       stamps_[static_cast<std::size_t>(index)],
                   "no time stamp ", index);
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, stamps_[static_cast<std::size_t>(first)],
                             stamps_[static_cast<std::size_t>(second)]),
        "reading time stamps");
  return static_cast<double>(milliseconds) * 1e-3;
}

void CudaDevice::must_not_be_capturing(const char* what) const {
  SEQ1F1B_ASSERT(!capturing_, what, " inside replay: captured work goes through Ops only");
}

// Relaxed: libraries may load kernels on the way, which has no effect on the stream.
cudaGraphExec_t CudaDevice::capture(const std::function<void()>& issue) {
  check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed),
        "beginning to capture a graph");
  cudaGraph_t graph = nullptr;
  try {
    issue();
  } catch (...) {
    // The stream must leave the recording state, whatever became of the graph.
    cudaStreamEndCapture(stream_, &graph);
    if (graph) cudaGraphDestroy(graph);
    (void)cudaGetLastError();
    throw;
  }
  check(cudaStreamEndCapture(stream_, &graph), "ending the capture of a graph");
  cudaGraphExec_t executable = nullptr;
  const cudaError_t error = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  check(error, "instantiating a graph");
  return executable;
}

void CudaDevice::replay(std::uint64_t key, const std::function<void()>& issue) {
  must_not_be_capturing("replay");
  if (!graphs_wanted_) return issue();
  if (const auto found = graphs_.find(key); found != graphs_.end()) {
    check(cudaGraphLaunch(found->second, stream_), "launching a graph");
    return;
  }
  struct Capturing {
    bool& flag;
    ~Capturing() { flag = false; }
  };
  capturing_ = true;
  const Capturing end{capturing_};
  issue();
  const std::size_t free_before = free_bytes();
  const cudaGraphExec_t graph = capture(issue);
  graphs_.emplace(key, graph);
  // Sending it to the GPU now keeps the first replay as short as the others.
  check(cudaGraphUpload(graph, stream_), "uploading a graph");
  const std::size_t free_after = free_bytes();
  if (free_before > free_after) graph_bytes_ += free_before - free_after;
}

// Errors have been reported where they arose; here they would only hide the first.
void CudaDevice::forget_graphs() {
  cudaStreamSynchronize(stream_);
  for (const auto& [key, graph] : graphs_) cudaGraphExecDestroy(graph);
  graphs_.clear();
  graph_bytes_ = 0;
}

void CudaDevice::push_range(const char* name) { push_named_range(name); }
void CudaDevice::pop_range() { pop_named_range(); }

}  // namespace seq1f1b::kernels::cuda

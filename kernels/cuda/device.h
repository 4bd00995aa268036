#pragma once
// One GPU as seen by one rank. The thread that makes the device issues all its work.
#include <cuda_runtime_api.h>

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "kernels/cuda/module.h"
#include "kernels/cuda/staging.h"
#include "kernels/device.h"

namespace seq1f1b::kernels::cuda {

// One usable GPU of this process.
struct Gpu {
  int index = 0;         // as the CUDA runtime counts
  int architecture = 0;  // of the kernels it gets (architectures.h)
};
// Empty with the reason in `why` where there is none: no driver, no device, none that the kernels
// were built for.
std::vector<Gpu> usable_gpus(std::string& why);

class CudaEvent final : public Event {
 public:
  CudaEvent();
  ~CudaEvent() override;
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;
  bool done() override { return has_passed(); }
  cudaEvent_t handle() const { return event_; }

 private:
  bool has_passed() const;
  cudaEvent_t event_ = nullptr;
};
// `event` must be of this back end.
CudaEvent& cuda_event(Event& event);

class CudaDevice final : public Device {
 public:
  // Makes `gpu` current. `graphs`: replay() captures graphs.
  CudaDevice(const Gpu& gpu, bool graphs);
  ~CudaDevice() override;
  CudaDevice(const CudaDevice&) = delete;
  CudaDevice& operator=(const CudaDevice&) = delete;

  int index() const { return gpu_.index; }
  int architecture() const { return gpu_.architecture; }
  int multiprocessors() const { return multiprocessors_; }
  int shared_bytes() const { return shared_bytes_; }  // that a block may ask for
  cudaStream_t stream() const { return stream_; }     // the main queue
  DeviceIdentity identity() const { return {bus_id_}; }
  // Bytes that left the GPU's free memory since this object was made and that it did not allocate:
  // loaded kernels, libraries, graphs of replay; whatever other processes took meanwhile, too.
  std::size_t other_bytes() const;

  std::string description() const override { return description_; }
  std::size_t memory_bytes() const override { return memory_bytes_; }
  std::size_t free_bytes() const override;
  bool is_host() const override { return false; }
  void* allocate(std::size_t bytes) override;
  void release(void* pointer, std::size_t bytes) noexcept override;
  void* allocate_host(std::size_t bytes) override;
  void release_host(void* pointer, std::size_t bytes) noexcept override;
  void upload(void* device, const void* host, std::size_t bytes) override;
  void download(void* host, const void* device, std::size_t bytes) override;
  void download_later(void* host, const void* device, std::size_t bytes) override;
  void copy(void* to, const void* from, std::size_t bytes) override;
  void synchronize() override;
  std::unique_ptr<Event> make_event() override;
  void record(Event& event) override;
  void wait(Event& event) override;
  void stamp(int index) override;
  double seconds_between(int first, int second) override;
  // The first time, the work is issued as it is, which lets libraries choose their algorithms and
  // load their kernels, and then captured as a graph without being done again.
  void replay(std::uint64_t key, const std::function<void()>& issue) override;
  void forget_graphs() override;
  Graphs graphs() const override { return {graphs_.size(), graph_bytes_}; }
  void push_range(const char* name) override;
  void pop_range() override;

 private:
  cudaGraphExec_t capture(const std::function<void()>& issue);
  void must_not_be_capturing(const char* what) const;

  Gpu gpu_;
  bool graphs_wanted_, capturing_ = false;
  int multiprocessors_ = 0, shared_bytes_ = 0;
  std::string bus_id_, description_;
  std::size_t memory_bytes_ = 0, free_at_start_ = 0, allocated_ = 0, graph_bytes_ = 0;
  cudaStream_t stream_ = nullptr;
  std::unique_ptr<StagingRing> staging_;
  std::vector<cudaEvent_t> stamps_;  // made when first used
  std::unordered_map<std::uint64_t, cudaGraphExec_t> graphs_;
};
// `device` must be of this back end.
CudaDevice& cuda_device(Device& device);
const CudaDevice& cuda_device(const Device& device);

}  // namespace seq1f1b::kernels::cuda

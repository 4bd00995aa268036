#pragma once
// The Device of back ends that compute on the host: memory straight from the system, copies by
// memcpy, work done when the call returns.
#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "kernels/device.h"

namespace seq1f1b::kernels {

class HostDevice final : public Device {
 public:
  explicit HostDevice(std::string description) : description_(std::move(description)) {}
  std::string description() const override { return description_; }
  std::size_t memory_bytes() const override;  // of the machine, or the container's limit
  void* allocate(std::size_t bytes) override;
  void release(void* pointer, std::size_t bytes) noexcept override;
  void upload(void* device, const void* host, std::size_t bytes) override;
  void download(void* host, const void* device, std::size_t bytes) override;
  void* allocate_host(std::size_t bytes) override { return allocate(bytes); }
  void release_host(void* pointer, std::size_t bytes) noexcept override {
    release(pointer, bytes);
  }
  void download_later(void* host, const void* device, std::size_t bytes) override {
    download(host, device, bytes);
  }
  void copy(void* to, const void* from, std::size_t bytes) override { upload(to, from, bytes); }
  void synchronize() override {}
  std::unique_ptr<Event> make_event() override;
  void record(Event&) override {}
  void wait(Event&) override {}
  void stamp(int index) override;
  double seconds_between(int first, int second) override;

 private:
  std::string description_;
  std::vector<std::chrono::steady_clock::time_point> stamps_;  // as many as were asked for
};

}  // namespace seq1f1b::kernels

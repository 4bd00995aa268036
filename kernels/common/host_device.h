#pragma once
// The Device of back ends that compute on the host: memory straight from the system, copies by
// memcpy, work done when the call returns.
#include <string>
#include <utility>

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
  void synchronize() override {}

 private:
  std::string description_;
};

}  // namespace seq1f1b::kernels

#pragma once
// A device around a device that passes every call on: tests override what they look at.
#include <memory>
#include <string>

#include "kernels/device.h"

namespace seq1f1b::testing {

class ForwardingDevice : public kernels::Device {
 public:
  explicit ForwardingDevice(std::unique_ptr<kernels::Device> inner) : inner_(std::move(inner)) {}

  std::string description() const override { return inner_->description(); }
  std::size_t memory_bytes() const override { return inner_->memory_bytes(); }
  std::size_t free_bytes() const override { return inner_->free_bytes(); }
  bool is_host() const override { return inner_->is_host(); }
  void* allocate(std::size_t bytes) override { return inner_->allocate(bytes); }
  void release(void* pointer, std::size_t bytes) noexcept override {
    inner_->release(pointer, bytes);
  }
  void* allocate_host(std::size_t bytes) override { return inner_->allocate_host(bytes); }
  void release_host(void* pointer, std::size_t bytes) noexcept override {
    inner_->release_host(pointer, bytes);
  }
  void upload(void* device, const void* host, std::size_t bytes) override {
    inner_->upload(device, host, bytes);
  }
  void download(void* host, const void* device, std::size_t bytes) override {
    inner_->download(host, device, bytes);
  }
  void download_later(void* host, const void* device, std::size_t bytes) override {
    inner_->download_later(host, device, bytes);
  }
  void copy(void* to, const void* from, std::size_t bytes) override {
    inner_->copy(to, from, bytes);
  }
  void synchronize() override { inner_->synchronize(); }
  std::unique_ptr<kernels::Event> make_event() override { return inner_->make_event(); }
  void record(kernels::Event& event) override { inner_->record(event); }
  void wait(kernels::Event& event) override { inner_->wait(event); }
  void stamp(int index) override { inner_->stamp(index); }
  double seconds_between(int first, int second) override {
    return inner_->seconds_between(first, second);
  }
  void replay(std::uint64_t key, const std::function<void()>& issue) override {
    inner_->replay(key, issue);
  }
  void forget_graphs() override { inner_->forget_graphs(); }
  Graphs graphs() const override { return inner_->graphs(); }
  void push_range(const char* name) override { inner_->push_range(name); }
  void pop_range() override { inner_->pop_range(); }

 private:
  std::unique_ptr<kernels::Device> inner_;
};

}  // namespace seq1f1b::testing

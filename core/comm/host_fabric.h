#pragma once
// The fabric of devices that compute on the host: their memory is the world's.
#include "core/comm/fabric.h"

namespace seq1f1b::comm {

class HostFabric final : public Fabric {
 public:
  explicit HostFabric(World& world) : world_(world) {}

  std::string description() const override { return world_.description(); }
  World& world() const override { return world_; }
  std::unique_ptr<Sender> make_sender(int to, int id,
                                      std::vector<std::span<std::byte>> buffers) override {
    return world_.make_sender(to, id, std::move(buffers));
  }
  std::unique_ptr<Receiver> make_receiver(int from, int id,
                                          std::vector<std::span<std::byte>> buffers) override {
    return world_.make_receiver(from, id, std::move(buffers));
  }
  std::unique_ptr<TensorGroup> make_group(std::span<const int> members) override;
  void connect() override {}  // the world connects by itself
  void wait_for(kernels::Event& event, const Describe& what) override;
  std::size_t library_bytes() const override { return world_.library_bytes(); }

 private:
  World& world_;
};

// What all groups of tensors ask of their argument.
void check_summable(const kernels::Tensor& values);

}  // namespace seq1f1b::comm

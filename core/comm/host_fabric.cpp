#include "core/comm/host_fabric.h"

namespace seq1f1b::comm {
namespace {

class HostGroup final : public TensorGroup {
 public:
  explicit HostGroup(std::unique_ptr<Group> group) : group_(std::move(group)) {}

  void all_reduce_sum(const kernels::Tensor& values, const Describe& what) override {
    check_summable(values);
    const auto elements = static_cast<std::size_t>(values.elements());
    if (values.dtype == kernels::Dtype::kF64)
      group_->all_reduce_sum(std::span(values.as<double>(), elements), what);
    else
      group_->all_reduce_sum(std::span(values.as<float>(), elements), what);
  }

 private:
  const std::unique_ptr<Group> group_;
};

}  // namespace

std::unique_ptr<TensorGroup> HostFabric::make_group(std::span<const int> members) {
  auto group = world_.make_group(members);
  return group ? std::make_unique<HostGroup>(std::move(group)) : nullptr;
}

void HostFabric::wait_for(kernels::Event& event, const Describe& what) {
  world_.wait_until([&] { return event.done(); }, [] { return std::string("the device"); }, what);
}

}  // namespace seq1f1b::comm

#pragma once
// What the device's main queue waits for, of other ranks. The host runs ahead of the device; when
// the device gets stuck, the oldest wait that it has not passed says which message of whom is
// missing, as a wait of the host itself would.
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "core/comm/channel.h"
#include "kernels/device.h"

namespace seq1f1b::comm {

class DeviceWaits {
 public:
  struct Entry {
    std::unique_ptr<kernels::Event> passed;
    std::string whom, what;
  };

  explicit DeviceWaits(kernels::Device& device) : device_(device) {}

  // Makes the main queue wait for `event`, which needs `whom`. Asks `what` at once: its caller will
  // be elsewhere when the device gets there.
  void wait(kernels::Event& event, const std::string& whom, const Describe& what);
  // Null when the device has passed all.
  const Entry* oldest();

 private:
  void forget_passed();

  kernels::Device& device_;
  std::deque<Entry> entries_;
  std::vector<std::unique_ptr<kernels::Event>> spare_;
};

}  // namespace seq1f1b::comm

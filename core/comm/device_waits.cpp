#include "core/comm/device_waits.h"

namespace seq1f1b::comm {

void DeviceWaits::wait(kernels::Event& event, const std::string& whom, const Describe& what) {
  if (event.done()) return;  // and what is issued from now on is behind it
  forget_passed();
  device_.wait(event);
  std::unique_ptr<kernels::Event> passed;
  if (spare_.empty()) {
    passed = device_.make_event();
  } else {
    passed = std::move(spare_.back());
    spare_.pop_back();
  }
  device_.record(*passed);
  entries_.push_back({std::move(passed), whom, what()});
}

const DeviceWaits::Entry* DeviceWaits::oldest() {
  forget_passed();
  return entries_.empty() ? nullptr : &entries_.front();
}

void DeviceWaits::forget_passed() {
  while (!entries_.empty() && entries_.front().passed->done()) {
    spare_.push_back(std::move(entries_.front().passed));
    entries_.pop_front();
  }
}

}  // namespace seq1f1b::comm

#pragma once
// What every world and every fabric must do, as functions that each rank runs at the same time.
// They throw instead of using Catch's checks, which may not be used from several threads. Memory of
// the device is touched in queue order only.
#include <functional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/comm/fabric.h"
#include "kernels/common/errors.h"

namespace seq1f1b::comm::testing {

// Where a body runs: one rank's view.
struct Site {
  World& world;
  Fabric& fabric;
  kernels::Device& device;
  bool in_member_order = true;  // the fabric's sums; else in an order of its own
};

struct Body {
  std::string name;
  std::function<void(Site&)> run;  // for two ranks or more
};

std::vector<Body> channel_bodies();
std::vector<Body> tensor_group_bodies();
std::vector<Body> group_bodies();  // of the host's groups

// A ring of `depth` buffers of `bytes` with the storage behind it.
class Ring {
 public:
  Ring(std::size_t depth, std::size_t bytes) : storage_(depth * bytes), bytes_(bytes) {}
  std::vector<std::span<std::byte>> buffers() {
    std::vector<std::span<std::byte>> result;
    for (std::size_t at = 0; at < storage_.size(); at += bytes_) {
      result.push_back(std::span(storage_).subspan(at, bytes_));
    }
    return result;
  }

 private:
  std::vector<std::byte> storage_;
  std::size_t bytes_;
};

// The same in the memory of a device.
class DeviceRing {
 public:
  DeviceRing(kernels::Device& device, std::size_t depth, std::size_t bytes)
      : storage_(device, depth * bytes), bytes_(bytes) {}
  std::vector<std::span<std::byte>> buffers() const {
    std::vector<std::span<std::byte>> result;
    for (std::size_t at = 0; at < storage_.bytes(); at += bytes_)
      result.emplace_back(storage_.data() + at, bytes_);
    return result;
  }

 private:
  kernels::DeviceBuffer storage_;
  std::size_t bytes_;
};

inline std::string nothing_special() { return "testing"; }

template <class Function>
bool is_refused(const Function& function) {
  try {
    function();
  } catch (const InternalError&) {
    return true;
  }
  return false;
}

// Until the device has done all that was issued.
inline void wait_for(Site& site) {
  const auto event = site.device.make_event();
  site.device.record(*event);
  site.fabric.wait_for(*event, nothing_special);
}

}  // namespace seq1f1b::comm::testing

#define EXPECT(condition)                                                                         \
  do {                                                                                            \
    if (!(condition))                                                                             \
      throw std::runtime_error(                                                                   \
          ::seq1f1b::concat(__FILE__, ":", __LINE__, ": rank ", world.rank(), ": ", #condition)); \
  } while (false)

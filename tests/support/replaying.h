#pragma once
// A device that really replays, on the host: the first time a key comes, the work is done and then
// recorded as closures over the arguments that its operations had; later the closures run in place
// of what is issued. What is issued is still looked at, and must be what the record holds. Work
// that is not recorded, or arguments that change from replay to replay, show as a wrong result or
// as a complaint.
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "kernels/device.h"
#include "kernels/ops.h"

namespace seq1f1b::testing {

// One operation: its name and every argument, pointers included, and what does it again.
struct IssuedCall {
  std::string signature;
  std::function<void()> again;
};

// What the device and the operations of one back end share, and what tests read.
struct ReplayLog {
  int replays = 0, records = 0;
  std::size_t recorded_calls = 0;  // over all records
  std::vector<std::string> complaints;
  std::vector<std::string> trace;  // calls of the device by name, while `tracing`
  bool tracing = false;

  std::vector<IssuedCall>* recording = nullptr;  // calls go here instead of being done
  bool inside = false;                           // of replay()
};

// Puts device and operations that keep `log` around those of the back end.
void make_replaying(kernels::Backend& backend, std::shared_ptr<ReplayLog> log);

}  // namespace seq1f1b::testing

#pragma once
#include <functional>
#include <string>

namespace seq1f1b::comm {

// Says what the caller is doing, for the message of an expired deadline, e.g.
// "backward of micro-batch 3, segment 1 (step 12)". Called when the deadline has expired, or at
// once where the host leaves the waiting to the device.
using Describe = std::function<std::string()>;

}  // namespace seq1f1b::comm

#pragma once
// Where the messages of a chunk come in and go out.
#include <array>
#include <cstddef>
#include <vector>

#include "core/comm/channel.h"
#include "core/schedule/action_table.h"

namespace seq1f1b::runtime {

// One flow of one chunk. Nothing is there at the ends of the pipeline.
struct Port {
  comm::Receiver* receiver = nullptr;
  comm::Sender* sender = nullptr;
  int from_rank = -1, to_rank = -1;  // peers among the pipeline ranks, for messages
  // For warming up: the first buffer that messages arrive in, all that they leave from.
  const std::byte* arrival = nullptr;
  std::vector<std::byte*> departures;
};

class ChunkPorts {
 public:
  Port& operator[](schedule::Flow flow) { return ports_[static_cast<std::size_t>(flow)]; }
  const Port& operator[](schedule::Flow flow) const {
    return ports_[static_cast<std::size_t>(flow)];
  }

 private:
  std::array<Port, schedule::kFlows> ports_;
};

}  // namespace seq1f1b::runtime

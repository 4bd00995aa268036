#pragma once
// One rank's ends of all channels of a schedule, for tests of the loop alone.
#include <memory>
#include <vector>

#include "core/comm/channel.h"
#include "core/runtime/stage_loop.h"
#include "core/schedule/schedule.h"

namespace seq1f1b::runtime::testing {

struct ChannelEnds {
  std::vector<std::unique_ptr<comm::Sender>> senders;
  std::vector<std::unique_ptr<comm::Receiver>> receivers;
  std::vector<ChunkChannels> channels;  // by chunk

  // `links`, a world or a fabric, makes the ends of `rank`; `ring(n)` is memory of n buffers, which
  // outlives them.
  template <class Links, class Ring>
  ChannelEnds(Links& links, int rank, const schedule::Schedule& schedule, const Ring& ring)
      : channels(static_cast<std::size_t>(schedule.spec.chunks)) {
    const auto of_stage = [&](int stage) -> ChunkChannels& {
      return channels[static_cast<std::size_t>(schedule::place_of_stage(schedule, stage).chunk)];
    };
    const schedule::ChannelDepth depth;
    for (const schedule::Channel& channel : schedule::channels_of(schedule)) {
      const bool activation = channel.direction == schedule::Direction::kActivation;
      if (channel.from_rank == rank) {
        senders.push_back(
            links.make_sender(channel.to_rank, channel.id(), ring(depth.send_buffers)));
        ChunkChannels& ends = of_stage(channel.producing_stage);
        (activation ? ends.activation_out : ends.gradient_out) = senders.back().get();
        (activation ? ends.next_rank : ends.previous_rank) = channel.to_rank;
      }
      if (channel.to_rank == rank) {
        receivers.push_back(
            links.make_receiver(channel.from_rank, channel.id(), ring(depth.receive_buffers)));
        ChunkChannels& ends = of_stage(channel.consuming_stage());
        (activation ? ends.activation_in : ends.gradient_in) = receivers.back().get();
        (activation ? ends.previous_rank : ends.next_rank) = channel.from_rank;
      }
    }
  }
};

}  // namespace seq1f1b::runtime::testing

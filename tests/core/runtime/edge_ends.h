#pragma once
// One rank's ends of all edges of a schedule, for tests of the loop alone.
#include <memory>
#include <vector>

#include "core/comm/channel.h"
#include "core/comm/local_channel.h"
#include "core/runtime/stage_loop.h"
#include "core/schedule/edges.h"

namespace seq1f1b::runtime::testing {

struct EdgeEnds {
  std::vector<std::unique_ptr<comm::Sender>> senders;
  std::vector<std::unique_ptr<comm::Receiver>> receivers;
  std::vector<ChunkPorts> ports;  // by chunk

  // `links`, a world or a fabric, makes the ends of `rank`; `ring(n)` is memory of n buffers, which
  // outlives them.
  template <class Links, class Ring>
  EdgeEnds(Links& links, int rank, const schedule::Schedule& schedule, const Ring& ring)
      : ports(static_cast<std::size_t>(schedule.spec.chunks)) {
    const auto port_of = [&](int stage, schedule::Flow flow) -> Port& {
      return ports[static_cast<std::size_t>(schedule::place_of_stage(schedule, stage).chunk)][flow];
    };
    const schedule::ChannelDepth depth = schedule.depth;
    for (const schedule::Edge& edge : schedule::edges_of(schedule)) {
      comm::LocalChannel ends;
      if (edge.is_local()) {
        if (edge.from_rank == rank)
          ends = comm::make_local_channel(ring(schedule::local_buffers(schedule, edge)));
      } else if (edge.from_rank == rank) {
        ends.sender = links.make_sender(edge.to_rank, edge.id(), ring(depth.send_buffers));
      } else if (edge.to_rank == rank) {
        ends.receiver =
            links.make_receiver(edge.from_rank, edge.id(), ring(depth.receive_buffers));
      }
      if (ends.sender) {
        Port& port = port_of(edge.producing_stage, edge.flow);
        port.sender = senders.emplace_back(std::move(ends.sender)).get();
        port.to_rank = edge.to_rank;
      }
      if (ends.receiver) {
        Port& port = port_of(edge.consuming_stage(), edge.flow);
        port.receiver = receivers.emplace_back(std::move(ends.receiver)).get();
        port.from_rank = edge.from_rank;
      }
    }
  }
};

}  // namespace seq1f1b::runtime::testing

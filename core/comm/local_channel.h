#pragma once
// The channel of an edge whose two stages are on one rank: a ring in the rank's own memory, through
// which a producer hands messages to a consumer of the same in-order queue. Nothing is sent and
// nothing is ever waited for: the order of the rank, which the schedule's proof covers, has every
// message written before it is taken and a buffer free before it is written.
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "core/comm/channel.h"

namespace seq1f1b::comm {

struct LocalChannel {
  std::unique_ptr<Sender> sender;
  std::unique_ptr<Receiver> receiver;
};
// `buffers`: the ring, as many as messages are ever in it at once; more throw InternalError.
LocalChannel make_local_channel(std::vector<std::span<std::byte>> buffers);

}  // namespace seq1f1b::comm

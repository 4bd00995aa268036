#pragma once
// Who connects with whom, and in which order: pure data, equal on all ranks.
#include <compare>
#include <span>
#include <string>
#include <vector>

#include "kernels/communicator.h"

namespace seq1f1b::comm {

// A channel between two ranks, or a group.
struct Connection {
  std::vector<int> members;  // ranks of the world, in order; a channel's are sender, receiver
  int id = 0;                // a channel's, or the number of the group among groups
  bool is_group = false;
  kernels::CommunicatorId key{};  // made by the first member

  std::string name() const;  // "channel 3 from rank 0 to rank 1"
  // Channels by sender, receiver and id, then groups by number; keys do not count.
  friend std::weak_ordering operator<=>(const Connection& a, const Connection& b);
  friend bool operator==(const Connection& a, const Connection& b) { return (a <=> b) == 0; }
};

// What one rank has to connect: its ends of channels, and all groups. As bytes that all_gather
// carries; keys count where the rank is the first member.
std::string announce(std::span<const Connection> mine);

// Every rank's announcements put together, in order, with the keys of the first members. Throws
// InternalError naming a connection that not every member announced.
std::vector<Connection> merge(const std::vector<std::string>& announcements);

// The round of every connection: in a round no rank takes part in more than one. Greedy in the
// given order: at most one round per connection of the two busiest neighbours.
std::vector<int> plan_rounds(std::span<const Connection> connections);

}  // namespace seq1f1b::comm

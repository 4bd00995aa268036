#include <algorithm>
#include <array>
#include <chrono>
#include <thread>

#include "tests/core/comm/world_bodies.h"

namespace seq1f1b::comm::testing {
namespace {

using Clock = std::chrono::steady_clock;

std::byte pattern(std::size_t message, std::size_t position) {
  return static_cast<std::byte>((message * 131 + position * 7 + position / 251) & 0xff);
}

void upload_pattern(Site& site, std::byte* buffer, std::size_t message, std::size_t bytes) {
  std::vector<std::byte> values(bytes);
  for (std::size_t i = 0; i < bytes; ++i) values[i] = pattern(message, i);
  site.device.upload(buffer, values.data(), bytes);
}

void send_pattern(Site& site, Sender& sender, std::size_t message, std::size_t bytes) {
  upload_pattern(site, sender.acquire(nothing_special), message, bytes);
  sender.commit(bytes);
}

bool is_pattern(Site& site, const std::byte* buffer, std::size_t message, std::size_t bytes) {
  std::vector<std::byte> values(bytes);
  wait_for(site);
  site.device.download(values.data(), buffer, bytes);
  for (std::size_t i = 0; i < bytes; ++i)
    if (values[i] != pattern(message, i)) return false;
  return true;
}

// Sizes on both sides of every protocol change of an MPI library: none, eager, rendezvous, pieces.
std::size_t size_of_message(std::size_t message) {
  constexpr std::array<std::size_t, 6> kSizes = {0, 1, 4000, 4097, 70'001, 300'000};
  return kSizes[(message * message + message / 7) % kSizes.size()];
}

// A channel from rank 0 to rank 1: each has its end, the others none.
struct Channel {
  std::unique_ptr<Sender> sender;
  std::unique_ptr<Receiver> receiver;
};
Channel connect_pair(Site& site, int id, const DeviceRing& ring) {
  Channel channel;
  if (site.world.rank() == 0) channel.sender = site.fabric.make_sender(1, id, ring.buffers());
  if (site.world.rank() == 1) channel.receiver = site.fabric.make_receiver(0, id, ring.buffers());
  site.fabric.connect();
  return channel;
}

void fifo_order(Site& site) {
  World& world = site.world;
  constexpr std::size_t kMessages = 120;
  DeviceRing ring(site.device, 2, 300'000);
  const auto [sender, receiver] = connect_pair(site, 3, ring);
  if (sender) {
    for (std::size_t m = 0; m < kMessages; ++m) send_pattern(site, *sender, m, size_of_message(m));
  } else if (receiver) {
    std::vector<std::size_t> sizes;
    for (std::size_t m = 0; m < kMessages; ++m) sizes.push_back(size_of_message(m));
    receiver->expect(std::span(sizes).first(50));
    for (std::size_t m = 0; m < kMessages; ++m) {
      if (m == 30) receiver->expect(std::span(sizes).subspan(50));
      EXPECT(is_pattern(site, receiver->wait(nothing_special), m, sizes[m]));
      receiver->release();
    }
  }
}

// Two messages of 64 bytes fill the sender's ring until the receiver has buffers for them: however
// small, they are not hidden away in a library's buffers that no plan counts.
void ring_depth(Site& site) {
  World& world = site.world;
  const std::vector<int> pair = {0, 1};
  const auto group = world.make_group(pair);
  DeviceRing ring(site.device, 2, 64);
  const auto [sender, receiver] = connect_pair(site, 0, ring);
  if (sender) {
    group->barrier(nothing_special);
    send_pattern(site, *sender, 0, 64);
    send_pattern(site, *sender, 1, 64);
    const auto before = Clock::now();
    sender->acquire(nothing_special);
    wait_for(site);
    const auto after = Clock::now();
    sender->commit(64);
    std::vector<double> expected_at = {0.0};
    group->all_reduce_sum(std::span(expected_at), nothing_special);
    // Ranks of a node share the clock.
    const std::chrono::duration<double> at = after.time_since_epoch();
    EXPECT(at.count() >= expected_at[0]);
    EXPECT(after > before);
  } else if (receiver) {
    group->barrier(nothing_special);
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    const std::chrono::duration<double> now = Clock::now().time_since_epoch();
    receiver->expect(std::array<std::size_t, 3>{64, 64, 64});
    for (int m = 0; m < 3; ++m) {
      receiver->wait(nothing_special);
      receiver->release();
    }
    std::vector<double> expected_at = {now.count()};
    group->all_reduce_sum(std::span(expected_at), nothing_special);
  }
}

// Messages come while nobody waits, into both buffers and no further; a held message stays intact.
// The sender hears that both were taken before the receiver waits for the first.
void arrival_ahead(Site& site) {
  World& world = site.world;
  constexpr std::size_t kBytes = 100'000;
  const auto pair = world.make_group(std::vector<int>{0, 1});
  DeviceRing ring(site.device, 2, kBytes);
  const auto [sender, receiver] = connect_pair(site, 0, ring);
  if (sender) {
    for (std::size_t m = 0; m < 2; ++m) send_pattern(site, *sender, m, kBytes);
    std::byte* const first = sender->acquire(nothing_special);
    sender->acquire(nothing_special);
    wait_for(site);
    pair->barrier(nothing_special);
    upload_pattern(site, first, 2, kBytes);
    sender->commit(kBytes);
  } else if (receiver) {
    receiver->expect(std::array<std::size_t, 3>{kBytes, kBytes, kBytes});
    pair->barrier(nothing_special);
    const std::byte* first = receiver->wait(nothing_special);
    const std::byte* second = receiver->wait(nothing_special);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    EXPECT(is_pattern(site, first, 0, kBytes));
    EXPECT(is_pattern(site, second, 1, kBytes));
    receiver->release();
    EXPECT(is_pattern(site, receiver->wait(nothing_special), 2, kBytes));
    EXPECT(is_pattern(site, second, 1, kBytes));
    receiver->release();
    receiver->release();
  }
}

// The receiver gives a buffer back when the work that reads it is queued, not done: the next
// message must not arrive before.
void buffers_are_read_to_the_end(Site& site) {
  World& world = site.world;
  constexpr std::size_t kMessages = 40, kBytes = 500;
  DeviceRing ring(site.device, 2, kBytes), kept(site.device, kMessages, kBytes);
  const auto [sender, receiver] = connect_pair(site, 6, ring);
  for (std::size_t m = 0; sender && m < kMessages; ++m) send_pattern(site, *sender, m, kBytes);
  if (!receiver) return;
  receiver->expect(std::vector<std::size_t>(kMessages, kBytes));
  for (const std::span<std::byte> copy : kept.buffers()) {
    site.device.copy(copy.data(), receiver->wait(nothing_special), kBytes);
    receiver->release();
  }
  for (std::size_t m = 0; m < kMessages; ++m)
    EXPECT(is_pattern(site, kept.buffers()[m].data(), m, kBytes));
}

// Several edges between one pair of ranks, used in different orders on the two sides, both ways.
void edges_are_independent(Site& site) {
  World& world = site.world;
  constexpr std::size_t kEdges = 3;
  constexpr std::size_t kBytes = 20'000;
  const int peer = 1 - world.rank();
  std::vector<DeviceRing> rings;
  std::vector<std::unique_ptr<Sender>> senders;
  std::vector<std::unique_ptr<Receiver>> receivers;
  for (std::size_t i = 0; i < 2 * kEdges; ++i) rings.emplace_back(site.device, 1, kBytes);
  for (std::size_t edge = 0; edge < kEdges && world.rank() < 2; ++edge) {
    const int id = static_cast<int>(edge);
    senders.push_back(site.fabric.make_sender(peer, id, rings[2 * edge].buffers()));
    receivers.push_back(site.fabric.make_receiver(peer, id, rings[2 * edge + 1].buffers()));
  }
  site.fabric.connect();
  for (std::size_t round = 0; round < 20 && world.rank() < 2; ++round) {
    for (std::size_t edge = 0; edge < kEdges; ++edge) {
      receivers[edge]->expect(std::array<std::size_t, 1>{kBytes - edge});
      send_pattern(site, *senders[edge], 10 * round + edge, kBytes - edge);
    }
    for (std::size_t i = 0; i < kEdges; ++i) {
      const std::size_t edge = world.rank() == 0 ? i : kEdges - 1 - i;
      const std::byte* message = receivers[edge]->wait(nothing_special);
      EXPECT(is_pattern(site, message, 10 * round + edge, kBytes - edge));
      receivers[edge]->release();
    }
  }
}

void announced_and_never_sent(Site& site) {
  World& world = site.world;
  DeviceRing ring(site.device, 2, 1000);
  const std::vector<int> pair = {0, 1};
  const auto group = world.make_group(pair);
  {
    const auto [sender, receiver] = connect_pair(site, 5, ring);
    if (receiver) receiver->expect(std::array<std::size_t, 3>{1000, 1000, 1000});
  }
  // The receives were taken back with the channel: another channel of the same name starts anew.
  if (group) group->barrier(nothing_special);
  const auto [sender, receiver] = connect_pair(site, 5, ring);
  if (sender) send_pattern(site, *sender, 9, 700);
  if (receiver) {
    receiver->expect(std::array<std::size_t, 1>{700});
    EXPECT(is_pattern(site, receiver->wait(nothing_special), 9, 700));
  }
}

void misuse_is_refused(Site& site) {
  World& world = site.world;
  if (world.rank() > 1) return site.fabric.connect();
  const int peer = 1 - world.rank();
  DeviceRing ring(site.device, 1, 10);
  EXPECT(is_refused([&] { site.fabric.make_sender(world.rank(), 0, ring.buffers()); }));
  EXPECT(is_refused([&] { site.fabric.make_sender(world.size(), 0, ring.buffers()); }));
  EXPECT(is_refused([&] { site.fabric.make_sender(peer, -1, ring.buffers()); }));
  EXPECT(is_refused([&] { site.fabric.make_receiver(peer, 0, {}); }));
  const auto sender = site.fabric.make_sender(peer, 8, ring.buffers());
  const auto receiver = site.fabric.make_receiver(peer, 8, ring.buffers());
  site.fabric.connect();
  EXPECT(is_refused([&] { sender->commit(1); }));
  sender->acquire(nothing_special);
  EXPECT(is_refused([&] { sender->commit(11); }));
  EXPECT(is_refused([&] { sender->acquire(nothing_special); }));
  EXPECT(is_refused([&] { receiver->wait(nothing_special); }));
  EXPECT(is_refused([&] { receiver->release(); }));
  EXPECT(is_refused([&] { receiver->expect(std::array<std::size_t, 1>{11}); }));
}

}  // namespace

std::vector<Body> channel_bodies() {
  return {{"messages arrive whole and in order", fifo_order},
          {"a full ring makes its sender wait", ring_depth},
          {"messages arrive ahead, into free buffers only", arrival_ahead},
          {"buffers are read to the end before they are filled again", buffers_are_read_to_the_end},
          {"edges between the same ranks are independent", edges_are_independent},
          {"a closed channel takes its receives back", announced_and_never_sent},
          {"misuse is refused", misuse_is_refused}};
}

}  // namespace seq1f1b::comm::testing

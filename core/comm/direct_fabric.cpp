#include "core/comm/direct_fabric.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "core/comm/device_channels.h"
#include "core/comm/rank_names.h"
#include "kernels/common/errors.h"

namespace seq1f1b::comm {
namespace {

// An element for every member of a group, 64 at least.
std::size_t trial_bytes(const World& world) {
  return 4 * static_cast<std::size_t>(std::max(64, world.size()));
}

// A channel's receive occupies its multiprocessors from the moment its buffer is free until the
// message has come, most of a step: enough for a transfer that hides behind an action, and few of
// the hundred of a GPU. Not measured yet. Today's collectives are short, and nothing computes
// beside them.
constexpr int kChannelMultiprocessors = 4;
constexpr int kGroupMultiprocessors = 0;  // the library's choice

// A library that enqueues operations in the background does so in some tens of microseconds
// (nccl_communicator.cpp), less than the shortest sleep: that long the host looks again and again.
constexpr std::chrono::microseconds kBriefly{200};

// The others of a connection, for messages.
std::vector<int> peers(const Connection& connection, int rank) {
  std::vector<int> others = connection.members;
  std::erase(others, rank);
  return others;
}

void check_end(const World& world, int peer, int id,
               const std::vector<std::span<std::byte>>& buffers) {
  SEQ1F1B_ASSERT(peer >= 0 && peer < world.size() && peer != world.rank(), "a channel of rank ",
                 world.rank(), " with rank ", peer, " of ", world.size());
  SEQ1F1B_ASSERT(id >= 0, "channel id ", id);
  SEQ1F1B_ASSERT(!buffers.empty(), "channel ", id, " with rank ", peer, " has no buffer");
}

}  // namespace

kernels::Communicator& Link::connected() const {
  SEQ1F1B_ASSERT(communicator, connection.name(), " is used before Fabric::connect()");
  return *communicator;
}

DirectFabric::DirectFabric(World& world, kernels::Device& device, CommunicatorFactory factory)
    : Fabric(world),
      device_(device),
      factory_(std::move(factory)),
      waits_(device),
      all_(world.make_group(everyone(world))),
      trial_(device, trial_bytes(world)) {
  const std::vector<std::byte> zeros(trial_.bytes());
  device_.upload(trial_.data(), zeros.data(), zeros.size());
  device_.synchronize();  // other queues use it
}

DirectFabric::~DirectFabric() {
  if (std::uncaught_exceptions() > 0) abort();
  // All at once: a member that has ended one must not keep the others waiting for theirs. Those of
  // a connect() that failed, too: what they exchange lies in memory that goes next.
  const auto for_each = [&](const auto& part) {
    for (const auto* links : {&links_, &pending_})
      for (const auto& link : *links)
        if (link->communicator) part(link->communicator);
  };
  for_each([](auto& communicator) { communicator->finish(); });
  for_each([](auto& communicator) { communicator.reset(); });
}

std::shared_ptr<Link> DirectFabric::add(Connection connection) {
  auto link = std::make_shared<Link>();
  link->connection = std::move(connection);
  pending_.push_back(link);
  return link;
}

std::unique_ptr<Sender> DirectFabric::make_sender(int to, int id,
                                                  std::vector<std::span<std::byte>> buffers) {
  check_end(world_, to, id, buffers);
  return std::make_unique<DeviceSender>(*this, add({.members = {world_.rank(), to}, .id = id}),
                                        std::move(buffers));
}

std::unique_ptr<Receiver> DirectFabric::make_receiver(int from, int id,
                                                      std::vector<std::span<std::byte>> buffers) {
  check_end(world_, from, id, buffers);
  return std::make_unique<DeviceReceiver>(*this, add({.members = {from, world_.rank()}, .id = id}),
                                          std::move(buffers));
}

std::unique_ptr<TensorGroup> DirectFabric::make_group(std::span<const int> members,
                                                      std::size_t in_flight_bytes) {
  const int number = groups_made_++;  // counted on all ranks, members or not
  const auto own = std::ranges::find(members, world_.rank());
  if (own == members.end()) return nullptr;
  std::shared_ptr<Link> link;
  if (members.size() > 1)
    link = add({.members = {members.begin(), members.end()}, .id = number, .is_group = true});
  return std::make_unique<DeviceGroup>(*this, std::move(link),
                                       static_cast<int>(own - members.begin()),
                                       static_cast<int>(members.size()), in_flight_bytes);
}

void DirectFabric::connect() {
  std::vector<Connection> mine;
  {
    const auto watch = watch_start();
    for (const auto& link : pending_) {
      mine.push_back(link->connection);
      if (mine.back().members.front() == world_.rank()) mine.back().key = factory_.make_id();
    }
  }
  const std::vector<Connection> all = merge(all_->all_gather(
      announce(mine), [] { return std::string("comparing what the ranks have to connect"); }));
  const std::vector<int> rounds = plan_rounds(all);
  const auto last = std::ranges::max_element(rounds);
  for (int round = 0; last != rounds.end() && round <= *last; ++round)
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (rounds[i] != round) continue;
      const auto link = std::ranges::find_if(
          pending_, [&](const auto& candidate) { return candidate->connection == all[i]; });
      if (link == pending_.end()) continue;
      (*link)->connection.key = all[i].key;
      connect(**link);
      exchange(**link);
    }
  // Kept in the order of `all`, which is the same everywhere.
  std::ranges::sort(pending_,
                    [](const auto& a, const auto& b) { return a->connection < b->connection; });
  links_.insert(links_.end(), pending_.begin(), pending_.end());
  pending_.clear();
}

// What the library does on its own, in drivers of networks too, before it waits for others.
std::unique_ptr<Watch> DirectFabric::watch_start() {
  return world_.watch("starting " + factory_.name);
}

void DirectFabric::connect(Link& link) {
  const Connection& connection = link.connection;
  const auto place = std::ranges::find(connection.members, world_.rank());
  const kernels::CommunicatorOptions options{
      .id = connection.key,
      .rank = static_cast<int>(place - connection.members.begin()),
      .size = static_cast<int>(connection.members.size()),
      .multiprocessors = connection.is_group ? kGroupMultiprocessors : kChannelMultiprocessors};
  {
    const auto watch = watch_start();
    link.communicator = factory_.make(options);
  }
  await_ready(link, [&] {
    return concat("connecting ", connection.name(), factory_.hint.empty() ? "" : "; ",
                  factory_.hint);
  });
}

void DirectFabric::await_ready(Link& link, const Describe& what) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point sleep_from = Clock::now() + kBriefly;
  wait_until(
      [&] {
        for (;;) {
          const bool ready = link.communicator->ready();  // also when it has failed
          check_failure(link, what);
          if (ready || Clock::now() >= sleep_from) return ready;
          std::this_thread::yield();
        }
      },
      [&] { return rank_names(peers(link.connection, world_.rank())); }, what);
}

void DirectFabric::check_failure(Link& link, const Describe& what) {
  if (std::string failure = link.communicator->failure(); !failure.empty())
    world_.break_off(concat(failure, " on ", link.connection.name()), what);
}

// Connections between peers and kernels are set up by their first use. Both would be in the way of
// the first step, and a kernel that is loaded while another one waits on the device for a message
// may never be: so here, one connection at a time, and a group's collectives one by one.
void DirectFabric::exchange(Link& link) {
  const Connection& connection = link.connection;
  kernels::Communicator& communicator = *link.communicator;
  const auto what = [&] { return concat("trying ", connection.name()); };
  if (connection.is_group) {
    communicator.all_reduce_sum(kernels::Tensor(trial_.data(), kernels::Dtype::kF32, {1}));
    await_ready(link, what);
    const kernels::Tensor shards(trial_.data(), kernels::Dtype::kF32,
                                 {static_cast<std::int64_t>(connection.members.size())});
    communicator.reduce_scatter_sum(shards);
    await_ready(link, what);
    communicator.all_gather(shards);
  } else if (connection.members.front() == world_.rank()) {
    communicator.send(trial_.data(), 1, 1);
  } else {
    communicator.receive(trial_.data(), 1, 0);
  }
  await_ready(link, what);
  const auto exchanged = device_.make_event();
  communicator.record(*exchanged);
  wait_until(
      [&] {
        check_failure(link, what);
        return exchanged->done();
      },
      [&] { return rank_names(peers(connection, world_.rank())); }, what);
}

void DirectFabric::wait_for(kernels::Event& event, const Describe& what) {
  const auto whom = [&] {
    const DeviceWaits::Entry* wait = waits_.oldest();
    return wait ? wait->whom : std::string("the device");
  };
  // The oldest wait says more than where the host has got to.
  const auto doing = [&] {
    const DeviceWaits::Entry* wait = waits_.oldest();
    return wait ? wait->what : what();
  };
  wait_until(
      [&] {
        check_failures(doing);
        return event.done();
      },
      whom, doing);
}

void DirectFabric::check_failures(const Describe& what) {
  for (const auto& link : links_) {
    if (link.use_count() == 1) continue;  // its channel is closed
    check_failure(*link, what);
  }
}

void DirectFabric::wait_until(const std::function<bool()>& done, const Describe& whom,
                              const Describe& what) {
  try {
    world_.wait_until(done, whom, what);
  } catch (...) {
    abort();
    throw;
  }
}

void DirectFabric::abort() noexcept {
  failed_ = true;
  for (const auto* links : {&links_, &pending_})
    for (const auto& link : *links)
      if (link->communicator) link->communicator->abort();
}

}  // namespace seq1f1b::comm

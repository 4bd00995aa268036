#include "tests/core/comm/queued_device.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>
#include <set>

#include "kernels/common/bf16.h"
#include "kernels/common/errors.h"
#include "tests/catch.h"

namespace seq1f1b::comm::testing {
namespace {

constexpr std::align_val_t kAlignment{256};

}  // namespace

// Counters live as long as any task that touches them.
class Machine::Event final : public kernels::Event {
 public:
  struct Count {
    std::uint64_t recorded = 0, passed = 0;
    Progress reached;  // when the last record is passed
  };
  Event(Machine& machine, std::shared_ptr<Progress> seen)
      : machine_(machine), seen_(std::move(seen)) {}
  bool done() override {
    const std::lock_guard lock(machine_.mutex_);
    if (count->passed < count->recorded) return false;
    machine_.learn(*seen_, count->reached);
    return true;
  }
  const std::shared_ptr<Count> count = std::make_shared<Count>();

 private:
  Machine& machine_;
  const std::shared_ptr<Progress> seen_;  // by the device's host
};

// Where the members of a communicator find each other's operations.
struct Machine::Meeting {
  struct Message {
    std::byte* data;
    std::size_t bytes;
    bool done = false;
  };
  struct Collective {
    std::map<int, kernels::Tensor> parts;  // by member
    bool done = false;
  };
  int joined = 0;
  std::map<std::pair<int, int>, std::deque<std::shared_ptr<Message>>> sends, receives;
  std::map<int, std::shared_ptr<Collective>> collectives;  // by number

  void match(std::pair<int, int> route) {
    auto& from = sends[route];
    auto& to = receives[route];
    while (!from.empty() && !to.empty()) {
      SEQ1F1B_ASSERT(from.front()->bytes == to.front()->bytes, "sizes differ");
      std::memcpy(to.front()->data, from.front()->data, to.front()->bytes);
      from.front()->done = to.front()->done = true;
      from.pop_front();
      to.pop_front();
    }
  }
};

// One member's end.
class Machine::End final : public kernels::Communicator {
 public:
  End(Machine& machine, int world_rank, const kernels::CommunicatorOptions& options,
      std::shared_ptr<Meeting> meeting)
      : machine_(machine),
        world_rank_(world_rank),
        options_(options),
        meeting_(std::move(meeting)),
        queue_(machine.add_queue()) {}

  ~End() override {
    const bool idle = machine_.wait_until(std::chrono::seconds(5),
                                          [&] { return state_->aborted || queue_->tasks.empty(); });
    if (!idle) abort();
    machine_.retire(queue_);
  }

  // Once false after every operation, twice after the first with each peer, as if a connection were
  // being made.
  bool ready() override {
    const std::lock_guard lock(machine_.mutex_);
    if (setting_up_ > 0) --setting_up_;
    ready_ = setting_up_ == 0 && meeting_->joined == options_.size;
    return ready_;
  }
  void wait(kernels::Event& event) override {
    check();
    machine_.push_wait(*queue_, event);
  }
  void record(kernels::Event& event) override {
    check();
    machine_.push_record(*queue_, event);
  }

  void send(const void* data, std::size_t bytes, int peer) override {
    auto* source = static_cast<std::byte*>(const_cast<void*>(data));
    operate(source, bytes, meeting_->sends, {options_.rank, peer}, nullptr);
  }
  void receive(void* data, std::size_t bytes, int peer) override {
    operate(static_cast<std::byte*>(data), bytes, meeting_->receives, {peer, options_.rank},
            &state_->receives);
  }

  void all_reduce_sum(const kernels::Tensor& values) override {
    collective(values, "a sum", [](Meeting::Collective& all) { add_up(all, false); });
  }
  void reduce_scatter_sum(const kernels::Tensor& values) override {
    collective(values, "a sum of shards", [](Meeting::Collective& all) { add_up(all, true); });
  }
  void all_gather(const kernels::Tensor& values) override {
    collective(values, "a gathering", [](Meeting::Collective& all) {
      const std::size_t shard = all.parts.at(0).bytes() / all.parts.size();
      for (const auto& [from, source] : all.parts)
        for (const auto& [to, target] : all.parts) {
          const std::size_t at = static_cast<std::size_t>(from) * shard;
          if (from != to)
            std::memcpy(target.as<std::byte>() + at, source.as<std::byte>() + at, shard);
        }
    });
  }

  void finish() override {}
  std::string failure() override {
    const std::lock_guard lock(machine_.mutex_);
    const auto found = machine_.broken_.find(world_rank_);
    return found == machine_.broken_.end() ? "" : found->second;
  }
  void abort() noexcept override {
    const std::lock_guard lock(machine_.mutex_);
    if (!state_->aborted) ++machine_.aborted_;
    state_->aborted = true;
    // Nothing touches the bytes of its messages any more.
    for (auto& [route, messages] : meeting_->sends)
      if (route.first == options_.rank) messages.clear();
    for (auto& [route, messages] : meeting_->receives)
      if (route.second == options_.rank) messages.clear();
    for (auto& [number, all] : meeting_->collectives) all->parts.erase(options_.rank);
    machine_.forget_uses(*queue_);
    machine_.changed_.notify_all();
  }

 private:
  struct State {
    bool aborted = false;
    int receives = 0;  // waiting for a message
  };
  using Messages = std::map<std::pair<int, int>, std::deque<std::shared_ptr<Meeting::Message>>>;

  void check() const { SEQ1F1B_ASSERT(ready_, "a communicator is used before it is ready"); }
  void begin_operation(const std::string& way) {
    check();
    const std::lock_guard lock(machine_.mutex_);
    const bool first = used_.insert(way).second;
    setting_up_ = first ? 3 : 2;
    ready_ = false;
  }

  // `counts` the receives under way; null for sends.
  void operate(std::byte* data, std::size_t bytes, Messages& messages, std::pair<int, int> route,
               int* counts) {
    SEQ1F1B_ASSERT(bytes > 0, "an empty message is no operation of every library");
    begin_operation(concat("peer ", counts ? route.first : route.second));
    machine_.push(*queue_,
                  [this, data, bytes, &messages, route, counts, state = state_, meeting = meeting_,
                   message = std::shared_ptr<Meeting::Message>()]() mutable {
                    if (state->aborted) return true;
                    if (!message) {
                      message = std::make_shared<Meeting::Message>(Meeting::Message{data, bytes});
                      messages[route].push_back(message);
                      if (counts)
                        machine_.most_receives_ = std::max(machine_.most_receives_, ++*counts);
                      meeting->match(route);
                    }
                    if (message->done && counts) --*counts;
                    return message->done;
                  },
                  {{data, bytes, counts ? "a receive" : "a send"}});
  }

  // `combine` runs when all members' queues have come here.
  void collective(const kernels::Tensor& values, const char* name,
                  void (*combine)(Meeting::Collective&)) {
    // Each kind, other types and more elements take other ways, which are connected when they are
    // first used.
    begin_operation(concat(name, kernels::dtype_name(values.dtype), values.elements() > 1));
    machine_.push(*queue_,
                  [this, values, combine, number = collectives_issued_++, state = state_,
                   meeting = meeting_, all = std::shared_ptr<Meeting::Collective>()]() mutable {
                    if (state->aborted) return true;
                    if (!all) {
                      auto& place = meeting->collectives[number];
                      if (!place) place = std::make_shared<Meeting::Collective>();
                      all = place;
                      all->parts[options_.rank] = values;
                      if (static_cast<int>(all->parts.size()) == options_.size) {
                        combine(*all);
                        all->done = true;
                        meeting->collectives.erase(number);
                      }
                    }
                    return all->done;
                  },
                  {{values.data, values.bytes(), name}});
  }

  // In member order.
  static void add_up(Meeting::Collective& all, bool shards_only) {
    switch (all.parts.at(0).dtype) {
      case kernels::Dtype::kF64:
        return add_up<double, double>(all, shards_only);
      case kernels::Dtype::kBf16:
        return add_up<kernels::Bf16, float>(all, shards_only);
      default:
        return add_up<float, float>(all, shards_only);
    }
  }
  template <class Stored, class Sum>
  static void add_up(Meeting::Collective& all, bool shards_only) {
    const auto elements = static_cast<std::size_t>(all.parts.at(0).elements());
    const std::size_t shard = elements / all.parts.size();
    for (std::size_t i = 0; i < elements; ++i) {
      Sum total = 0;
      for (const auto& [member, part] : all.parts)
        total += static_cast<Sum>(static_cast<const Stored*>(part.data)[i]);
      for (const auto& [member, part] : all.parts) {
        const bool owns = i / std::max<std::size_t>(shard, 1) == static_cast<std::size_t>(member);
        // Nobody may count on what is left of the other shards.
        const Sum left = shards_only && !owns ? std::numeric_limits<Sum>::quiet_NaN() : total;
        static_cast<Stored*>(part.data)[i] = static_cast<Stored>(left);
      }
    }
  }

  Machine& machine_;
  const int world_rank_;
  const kernels::CommunicatorOptions options_;
  const std::shared_ptr<Meeting> meeting_;
  const std::shared_ptr<Queue> queue_;
  const std::shared_ptr<State> state_ = std::make_shared<State>();
  std::set<std::string> used_;  // peers and kinds of collectives that were operated with
  int setting_up_ = 0, collectives_issued_ = 0;
  bool ready_ = false;
};

// ---- machine ------------------------------------------------------------------------------------

Machine::Machine(unsigned seed) : random_(seed), thread_([this] { work(); }) {}

Machine::~Machine() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }
  thread_.join();
  for (const std::string& early : early_releases_) FAIL_CHECK(early);
  for (void* memory : kept_) ::operator delete(memory, kAlignment);
}

void Machine::work() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    bool moved = false;
    std::ranges::shuffle(queues_, random_);
    for (const auto& queue : queues_) {
      // Some pass over a queue that could go on: it is slow this time.
      if (queue->tasks.empty() || random_() % 4 == 0) continue;
      if (!queue->tasks.front()()) continue;
      queue->tasks.pop_front();
      moved = true;
    }
    std::erase_if(queues_,
                  [](const auto& queue) { return queue->retired && queue->tasks.empty(); });
    if (moved) {
      changed_.notify_all();
      lock.unlock();  // lets hosts in
      lock.lock();
    } else {
      changed_.wait_for(lock, std::chrono::microseconds(200));
    }
  }
}

std::shared_ptr<Queue> Machine::add_queue() {
  const std::lock_guard lock(mutex_);
  queues_.push_back(std::make_shared<Queue>());
  queues_.back()->number = queues_made_++;
  return queues_.back();
}

void Machine::remove(const std::shared_ptr<Queue>& queue) {
  const std::lock_guard lock(mutex_);
  std::erase(queues_, queue);
  forget_uses(*queue);
}

void Machine::retire(const std::shared_ptr<Queue>& queue) {
  const std::lock_guard lock(mutex_);
  queue->retired = true;
  forget_uses(*queue);
}

void Machine::enqueue(Queue& queue, std::function<bool()> task) {
  queue.tasks.push_back(std::move(task));
  queue.follows[queue.number] = ++queue.issued;
  changed_.notify_all();
}

void Machine::push(Queue& queue, std::function<bool()> task, const std::vector<Use>& uses) {
  const std::lock_guard lock(mutex_);
  enqueue(queue, std::move(task));
  for (const Use& use : uses)
    if (use.bytes > 0 || use.anything) uses_.push_back({use, queue.number, queue.issued});
}

void Machine::push_record(Queue& queue, kernels::Event& event) {
  const auto count = static_cast<Event&>(event).count;
  const std::lock_guard lock(mutex_);
  enqueue(queue, [count, number = ++count->recorded] {
    count->passed = number;
    return true;
  });
  count->reached = queue.follows;
}

void Machine::push_wait(Queue& queue, kernels::Event& event) {
  const auto count = static_cast<Event&>(event).count;
  const std::lock_guard lock(mutex_);
  enqueue(queue, [count, number = count->recorded] { return count->passed >= number; });
  for (const auto& [other, tasks] : count->reached)
    queue.follows[other] = std::max(queue.follows[other], tasks);
}

void Machine::learn(Progress& seen, const Progress& more) {
  for (const auto& [queue, tasks] : more) seen[queue] = std::max(seen[queue], tasks);
  std::erase_if(uses_, [&](const QueuedUse& used) {
    const auto found = seen.find(used.queue);
    return found != seen.end() && used.task <= found->second;
  });
}

void Machine::forget_uses(const Queue& queue) {
  std::erase_if(uses_, [&](const QueuedUse& used) { return used.queue == queue.number; });
}

bool Machine::wait_until(std::chrono::seconds limit, const std::function<bool()>& done) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, limit, done);
}

CommunicatorFactory Machine::factory(int rank) {
  return {.name = "queued devices",
          .hint = "look at the cables",
          .make_id =
              [this] {
                const std::lock_guard lock(mutex_);
                kernels::CommunicatorId key{};
                ++keys_made_;
                std::memcpy(key.data(), &keys_made_, sizeof keys_made_);
                return key;
              },
          .make = [this, rank](const kernels::CommunicatorOptions& options)
              -> std::unique_ptr<kernels::Communicator> {
            std::shared_ptr<Meeting> meeting;
            {
              const std::lock_guard lock(mutex_);
              auto& place = meetings_[options.id];
              if (!place) place = std::make_shared<Meeting>();
              meeting = place;
              ++meeting->joined;
              ++made_;
            }
            return std::make_unique<End>(*this, rank, options, std::move(meeting));
          }};
}

void Machine::break_communicators(int rank, const std::string& why) {
  const std::lock_guard lock(mutex_);
  broken_[rank] = why;
}

int Machine::most_receives_at_once() {
  const std::lock_guard lock(mutex_);
  return most_receives_;
}
int Machine::aborted() {
  const std::lock_guard lock(mutex_);
  return aborted_;
}
int Machine::made() {
  const std::lock_guard lock(mutex_);
  return made_;
}
void Machine::wait_for_queues() {
  const auto idle = [&] {
    return std::ranges::all_of(queues_, [](const auto& queue) { return queue->tasks.empty(); });
  };
  SEQ1F1B_ASSERT(wait_until(std::chrono::minutes(1), idle), "a queue is stuck");
}
std::vector<std::string> Machine::take_early_releases() {
  const std::lock_guard lock(mutex_);
  return std::exchange(early_releases_, {});
}

// ---- device -------------------------------------------------------------------------------------

QueuedDevice::QueuedDevice(Machine& machine) : machine_(machine), main_(machine.add_queue()) {}

QueuedDevice::~QueuedDevice() { machine_.remove(main_); }

void QueuedDevice::issue(std::function<void()> work, const std::vector<Use>& uses) {
  const auto task = [work = std::move(work)] {
    work();
    return true;
  };
  machine_.push(*main_, task, uses);
}

void* QueuedDevice::allocate(std::size_t bytes) {
  void* memory = ::operator new(std::max<std::size_t>(bytes, 1), kAlignment);
  std::memset(memory, 0xee, bytes);
  return memory;
}

void QueuedDevice::release(void* pointer, std::size_t bytes) noexcept {
  const std::lock_guard lock(machine_.mutex_);
  const auto* begin = static_cast<const std::byte*>(pointer);
  const auto touches = [&](const Machine::QueuedUse& used) {
    if (used.use.anything) return used.queue == main_->number;
    const auto* data = static_cast<const std::byte*>(used.use.data);
    return data < begin + bytes && begin < data + used.use.bytes;
  };
  const auto found = std::ranges::find_if(machine_.uses_, touches);
  if (found == machine_.uses_.end()) return ::operator delete(pointer, kAlignment);
  machine_.early_releases_.push_back(concat(bytes, " bytes of a device are released while ",
                                            found->use.what,
                                            " is queued that may touch them: nobody has waited "
                                            "for its end (kernels/device.h, Device::release)"));
  machine_.kept_.push_back(pointer);
}

void QueuedDevice::upload(void* device, const void* host, std::size_t bytes) {
  const auto* begin = static_cast<const std::byte*>(host);
  issue(
      [device, values = std::vector<std::byte>(begin, begin + bytes)] {
        if (!values.empty()) std::memcpy(device, values.data(), values.size());
      },
      {{device, bytes, "an upload"}});
}

void QueuedDevice::download_later(void* host, const void* device, std::size_t bytes) {
  issue(
      [=] {
        if (bytes > 0) std::memcpy(host, device, bytes);
      },
      {{host, bytes, "a download"}, {device, bytes, "a download"}});
}

void QueuedDevice::download(void* host, const void* device, std::size_t bytes) {
  download_later(host, device, bytes);
  synchronize();
}

void QueuedDevice::copy(void* to, const void* from, std::size_t bytes) {
  issue([=] { std::memcpy(to, from, bytes); }, {{to, bytes, "a copy"}, {from, bytes, "a copy"}});
}

void QueuedDevice::synchronize() {
  // No test waits that long.
  const bool idle =
      machine_.wait_until(std::chrono::minutes(1), [&] { return main_->tasks.empty(); });
  const std::lock_guard lock(machine_.mutex_);
  if (!idle) main_->tasks.clear();  // a download's target is about to go
  SEQ1F1B_ASSERT(idle, "a device is stuck");
  machine_.learn(*seen_, main_->follows);
}

std::unique_ptr<kernels::Event> QueuedDevice::make_event() {
  return std::make_unique<Machine::Event>(machine_, seen_);
}
void QueuedDevice::record(kernels::Event& event) { machine_.push_record(*main_, event); }
void QueuedDevice::wait(kernels::Event& event) { machine_.push_wait(*main_, event); }

}  // namespace seq1f1b::comm::testing

#include "tests/core/comm/queued_device.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "kernels/common/errors.h"

namespace seq1f1b::comm::testing {
namespace {

constexpr std::align_val_t kAlignment{256};

}  // namespace

// Counters live as long as any task that touches them.
class Machine::Event final : public kernels::Event {
 public:
  struct Count {
    std::uint64_t recorded = 0, passed = 0;
  };
  explicit Event(Machine& machine) : machine_(machine) {}
  bool done() override {
    const std::lock_guard lock(machine_.mutex_);
    return count->passed >= count->recorded;
  }
  static Count& count_of(kernels::Event& event) { return *static_cast<Event&>(event).count; }
  const std::shared_ptr<Count> count = std::make_shared<Count>();

 private:
  Machine& machine_;
};

// Where the members of a communicator find each other's operations.
struct Machine::Meeting {
  struct Message {
    std::byte* data;
    std::size_t bytes;
    bool done = false;
  };
  struct Sum {
    std::map<int, kernels::Tensor> parts;  // by member
    bool done = false;
  };
  int joined = 0;
  std::map<std::pair<int, int>, std::deque<std::shared_ptr<Message>>> sends, receives;
  std::map<int, std::shared_ptr<Sum>> sums;  // by number

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
    machine_.remove(queue_);
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
    // Other sizes and types take other ways, which are connected when they are first used.
    begin_operation(values.dtype == kernels::Dtype::kF64 ? -3 : values.elements() > 1 ? -2 : -1);
    machine_.push(*queue_, [this, values, number = sums_issued_++, state = state_,
                            meeting = meeting_, sum = std::shared_ptr<Meeting::Sum>()]() mutable {
      if (state->aborted) return true;
      if (!sum) {
        auto& place = meeting->sums[number];
        if (!place) place = std::make_shared<Meeting::Sum>();
        sum = place;
        sum->parts[options_.rank] = values;
        if (static_cast<int>(sum->parts.size()) == options_.size) {
          if (values.dtype == kernels::Dtype::kF64)
            add_up<double>(*sum);
          else
            add_up<float>(*sum);
          meeting->sums.erase(number);
        }
      }
      return sum->done;
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
    machine_.changed_.notify_all();
  }

 private:
  struct State {
    bool aborted = false;
    int receives = 0;  // waiting for a message
  };
  using Messages = std::map<std::pair<int, int>, std::deque<std::shared_ptr<Meeting::Message>>>;

  void check() const { SEQ1F1B_ASSERT(ready_, "a communicator is used before it is ready"); }
  void begin_operation(int peer) {
    check();
    const std::lock_guard lock(machine_.mutex_);
    const bool first = std::find(used_.begin(), used_.end(), peer) == used_.end();
    if (first) used_.push_back(peer);
    setting_up_ = first ? 3 : 2;
    ready_ = false;
  }

  // `counts` the receives under way; null for sends.
  void operate(std::byte* data, std::size_t bytes, Messages& messages, std::pair<int, int> route,
               int* counts) {
    SEQ1F1B_ASSERT(bytes > 0, "an empty message is no operation of every library");
    begin_operation(counts ? route.first : route.second);
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
                  });
  }

  template <class Real>
  static void add_up(Meeting::Sum& sum) {
    const auto elements = static_cast<std::size_t>(sum.parts.begin()->second.elements());
    for (std::size_t i = 0; i < elements; ++i) {
      Real total = 0;
      for (const auto& [member, part] : sum.parts) total += static_cast<Real*>(part.data)[i];
      for (const auto& [member, part] : sum.parts) static_cast<Real*>(part.data)[i] = total;
    }
    sum.done = true;
  }

  Machine& machine_;
  const int world_rank_;
  const kernels::CommunicatorOptions options_;
  const std::shared_ptr<Meeting> meeting_;
  const std::shared_ptr<Queue> queue_;
  const std::shared_ptr<State> state_ = std::make_shared<State>();
  std::vector<int> used_;  // peers that were operated with
  int setting_up_ = 0, sums_issued_ = 0;
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
    if (moved) {
      changed_.notify_all();
      lock.unlock();  // lets hosts in
      std::this_thread::yield();
      lock.lock();
    } else {
      changed_.wait_for(lock, std::chrono::microseconds(200));
    }
  }
}

std::shared_ptr<Queue> Machine::add_queue() {
  const std::lock_guard lock(mutex_);
  queues_.push_back(std::make_shared<Queue>());
  return queues_.back();
}

void Machine::remove(const std::shared_ptr<Queue>& queue) {
  const std::lock_guard lock(mutex_);
  std::erase(queues_, queue);
}

void Machine::push(Queue& queue, std::function<bool()> task) {
  const std::lock_guard lock(mutex_);
  queue.tasks.push_back(std::move(task));
  changed_.notify_all();
}

void Machine::push_record(Queue& queue, kernels::Event& event) {
  const auto count = static_cast<Event&>(event).count;
  const std::lock_guard lock(mutex_);
  queue.tasks.emplace_back([count, number = ++count->recorded] {
    count->passed = number;
    return true;
  });
  changed_.notify_all();
}

void Machine::push_wait(Queue& queue, kernels::Event& event) {
  const auto count = static_cast<Event&>(event).count;
  const std::lock_guard lock(mutex_);
  queue.tasks.emplace_back([count, number = count->recorded] { return count->passed >= number; });
  changed_.notify_all();
}

bool Machine::wait_until(std::chrono::seconds limit, const std::function<bool()>& over) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, limit, over);
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

// ---- device -------------------------------------------------------------------------------------

QueuedDevice::QueuedDevice(Machine& machine) : machine_(machine), main_(machine.add_queue()) {}

QueuedDevice::~QueuedDevice() { machine_.remove(main_); }

void QueuedDevice::issue(std::function<void()> work) {
  machine_.push(*main_, [work = std::move(work)] {
    work();
    return true;
  });
}

void QueuedDevice::halt() {
  const std::lock_guard lock(machine_.mutex_);
  main_->tasks.clear();
}

void* QueuedDevice::allocate(std::size_t bytes) {
  void* memory = ::operator new(std::max<std::size_t>(bytes, 1), kAlignment);
  std::memset(memory, 0xee, bytes);
  return memory;
}

void QueuedDevice::release(void* pointer, std::size_t) noexcept {
  ::operator delete(pointer, kAlignment);
}

void QueuedDevice::upload(void* device, const void* host, std::size_t bytes) {
  const auto* begin = static_cast<const std::byte*>(host);
  issue([device, values = std::vector<std::byte>(begin, begin + bytes)] {
    if (!values.empty()) std::memcpy(device, values.data(), values.size());
  });
}

void QueuedDevice::download_later(void* host, const void* device, std::size_t bytes) {
  issue([=] {
    if (bytes > 0) std::memcpy(host, device, bytes);
  });
}

void QueuedDevice::download(void* host, const void* device, std::size_t bytes) {
  download_later(host, device, bytes);
  synchronize();
}

void QueuedDevice::copy(void* to, const void* from, std::size_t bytes) {
  issue([=] { std::memcpy(to, from, bytes); });
}

void QueuedDevice::synchronize() {
  // No test waits that long.
  SEQ1F1B_ASSERT(machine_.wait_until(std::chrono::minutes(1), [&] { return main_->tasks.empty(); }),
                 "a device is stuck");
}

std::unique_ptr<kernels::Event> QueuedDevice::make_event() {
  return std::make_unique<Machine::Event>(machine_);
}
void QueuedDevice::record(kernels::Event& event) { machine_.push_record(*main_, event); }
void QueuedDevice::wait(kernels::Event& event) { machine_.push_wait(*main_, event); }

}  // namespace seq1f1b::comm::testing

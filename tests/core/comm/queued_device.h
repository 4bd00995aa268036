#pragma once
// Devices of one process that work behind their host's back: queues whose work runs later, on a
// thread of the machine, in an order drawn among the queues that can go on; and communicators
// between them in which a send is done only when its message was received. Whatever a fabric
// forgets to order or to issue in time shows as a wrong byte or as work that never ends.
//
// Memory that is released before its host knows the end of all work on it fails the test, every
// time: not whether the work is done counts, but whether the host has seen it, in synchronize, in a
// download, or in an event that is done, of a queue that had waited for it.
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "core/comm/direct_fabric.h"
#include "kernels/device.h"

namespace seq1f1b::comm::testing {

class Machine;

// How far somebody knows the queues to be, by their numbers: so many tasks each.
using Progress = std::map<int, std::uint64_t>;

// One queue: its front task is tried again and again until it says that it is done.
struct Queue {
  int number = 0;
  std::deque<std::function<bool()>> tasks;
  std::uint64_t issued = 0;
  Progress follows;  // what its next task comes after
  bool retired = false;
};

// What a task touches.
struct Use {
  const void* data = nullptr;
  std::size_t bytes = 0;
  const char* what = "";  // "an upload"
  bool anything = false;  // it does not say, and may touch all memory of its device
};

class QueuedDevice : public kernels::Device {
 public:
  explicit QueuedDevice(Machine& machine);
  ~QueuedDevice() override;

  // Work on the main queue, standing for a kernel.
  // Without `uses` it may touch whatever the device has.
  void issue(std::function<void()> work) {
    issue(std::move(work), {{.what = "a kernel", .anything = true}});
  }

  void issue(std::function<void()> work, const std::vector<Use>& uses);

  std::string description() const override { return "queued device"; }
  std::size_t memory_bytes() const override { return 0; }
  bool is_host() const override { return false; }
  void* allocate(std::size_t bytes) override;  // full of 0xee
  // Too early: fails the test, and the memory stays until the machine goes.
  void release(void* pointer, std::size_t bytes) noexcept override;
  void* allocate_host(std::size_t bytes) override { return allocate(bytes); }
  void release_host(void* pointer, std::size_t bytes) noexcept override { release(pointer, bytes); }
  void upload(void* device, const void* host, std::size_t bytes) override;
  void download(void* host, const void* device, std::size_t bytes) override;
  void download_later(void* host, const void* device, std::size_t bytes) override;
  void copy(void* to, const void* from, std::size_t bytes) override;
  void synchronize() override;
  std::unique_ptr<kernels::Event> make_event() override;
  void record(kernels::Event& event) override;
  void wait(kernels::Event& event) override;
  void stamp(int) override {}
  double seconds_between(int, int) override { return 0; }

 private:
  Machine& machine_;
  const std::shared_ptr<Queue> main_;
  const std::shared_ptr<Progress> seen_ = std::make_shared<Progress>();  // by the host
};

class Machine {
 public:
  explicit Machine(unsigned seed);
  ~Machine();  // fails the test that has not taken its early releases
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  CommunicatorFactory factory(int rank);  // of the world
  // From now on every communicator of `rank` says that it has failed.
  void break_communicators(int rank, const std::string& why);

  // Over all communicators so far.
  int most_receives_at_once();  // that wait for a message, per communicator and member
  int aborted();                // ends
  int made();                   // ends
  // Until nothing is queued anywhere, of which the hosts hear nothing.
  void wait_for_queues();
  // Memory released too early, in words; forgets it.
  std::vector<std::string> take_early_releases();

 private:
  friend class QueuedDevice;
  class Event;
  class End;
  struct Meeting;

  std::shared_ptr<Queue> add_queue();
  void remove(const std::shared_ptr<Queue>& queue);
  // Takes nothing more; what it has is still done: others wait for it.
  void retire(const std::shared_ptr<Queue>& queue);
  void push(Queue& queue, std::function<bool()> task, const std::vector<Use>& uses);
  void push_record(Queue& queue, kernels::Event& event);
  void push_wait(Queue& queue, kernels::Event& event);
  // Whether `over` came true within the limit.
  bool wait_until(std::chrono::seconds limit, const std::function<bool()>& done);
  void work();
  // With the lock held.
  void enqueue(Queue& queue, std::function<bool()> task);
  void learn(Progress& seen, const Progress& more);
  void forget_uses(const Queue& queue);

  struct QueuedUse {
    Use use;
    int queue;
    std::uint64_t task;
  };

  std::mutex mutex_;  // guards everything, the memory of the devices included
  std::condition_variable changed_;
  std::mt19937 random_;
  std::vector<std::shared_ptr<Queue>> queues_;
  std::map<kernels::CommunicatorId, std::shared_ptr<Meeting>> meetings_;
  std::map<int, std::string> broken_;
  int keys_made_ = 0, most_receives_ = 0, aborted_ = 0, made_ = 0, queues_made_ = 0;
  std::vector<QueuedUse> uses_;  // whose end the host has not seen
  std::vector<std::string> early_releases_;
  std::vector<void*> kept_;  // memory that was released too early
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace seq1f1b::comm::testing

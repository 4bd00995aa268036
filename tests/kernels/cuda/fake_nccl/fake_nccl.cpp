// A stand-in for NCCL whose ranks are threads and whose operations are work on emulated streams. Of
// NCCL's non-blocking mode it keeps what callers trip over: a communicator is in progress until all
// members have come; an operation is in the stream only some polls after its call, and calling
// another one or recording an event before is a mistake; a send is done when it is received. An
// abort ends kernels that run and then waits for all of its own work, also for what stands behind
// work of others in the stream (commDestroySync in NCCL's init.cc).
#include "tests/kernels/cuda/fake_nccl/fake_nccl.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels/common/bf16.h"
#include "kernels/simt/runtime.h"
#include "tests/kernels/cuda/fake_nccl/nccl.h"

using seq1f1b::kernels::Bf16;
using seq1f1b::simt::EventState;
using seq1f1b::simt::Runtime;
using seq1f1b::simt::Task;
using seq1f1b::testing::NcclCounts;

namespace {

constexpr std::chrono::seconds kLongestAbort{2};
constexpr int kPollsToEnqueue = 2, kPollsOfAStall = std::numeric_limits<int>::max();

// One matched pair of operations: each side waits for the other to have come.
struct Message {
  const std::byte* source = nullptr;
  std::size_t bytes = 0;
  std::shared_ptr<EventState> sender_came = std::make_shared<EventState>();
  std::shared_ptr<EventState> received = std::make_shared<EventState>();
};
struct Collective {
  struct Part {
    const void* input;
    void* output;
  };
  std::map<int, Part> parts;  // by rank
  int left = 0;
  std::shared_ptr<EventState> done = std::make_shared<EventState>();
};

struct Meeting {
  int size = 0, joined = 0, finalizing = 0;
  std::map<std::pair<int, int>, std::deque<std::shared_ptr<Message>>> unmatched_sends,
      unmatched_receives;
  std::map<int, std::shared_ptr<Collective>> collectives;
};

std::map<std::string, std::shared_ptr<Meeting>>& meetings() {
  static std::map<std::string, std::shared_ptr<Meeting>> all;
  return all;
}
NcclCounts g_counts;
bool g_fail_next = false, g_stall_next = false;

// Tasks are done at number 1 of their event.
Task waits(std::shared_ptr<EventState> event) { return {nullptr, std::move(event), nullptr, 1}; }
Task runs_and_records(std::function<void()> run, std::shared_ptr<EventState> event) {
  return {std::move(run), nullptr, std::move(event), 1};
}

// Each rank's output gets `count` elements of the sum, from `offset` * its rank on. In rank order;
// bf16 is rounded at every step, as along a ring.
template <class Real>
void add_up(const Collective& all, std::size_t elements, std::size_t count, std::size_t offset) {
  std::vector<Real> total(elements);
  for (std::size_t i = 0; i < elements; ++i)
    for (const auto& [rank, part] : all.parts) {
      const Real term = static_cast<const Real*>(part.input)[i];
      if constexpr (std::is_same_v<Real, Bf16>)
        total[i] = rank == 0 ? term : Bf16(static_cast<float>(total[i]) + static_cast<float>(term));
      else
        total[i] = rank == 0 ? term : total[i] + term;
    }
  for (const auto& [rank, part] : all.parts)
    std::copy_n(total.begin() + static_cast<std::ptrdiff_t>(offset) * rank, count,
                static_cast<Real*>(part.output));
}
void add_up(const Collective& all, ncclDataType_t type, std::size_t elements, std::size_t count,
            std::size_t offset) {
  if (type == ncclFloat64) return add_up<double>(all, elements, count, offset);
  if (type == ncclBfloat16) return add_up<Bf16>(all, elements, count, offset);
  add_up<float>(all, elements, count, offset);
}
std::size_t bytes_of(ncclDataType_t type) {
  return type == ncclFloat64 ? 8 : type == ncclFloat32 ? 4 : type == ncclBfloat16 ? 2 : 1;
}

ncclResult_t misuse() {
  ++g_counts.misused;
  return ncclInvalidUsage;
}

}  // namespace

struct ncclComm {
  std::shared_ptr<Meeting> meeting;
  int rank = 0, polls_left = 0, collectives = 0;
  bool finalizing = false;
  ncclResult_t failure = ncclSuccess;
  std::function<void()> enqueue;  // the operation under way
  // Of its work on the device: what it waits for, and whether it is to end without.
  std::vector<std::shared_ptr<EventState>> awaited;
  std::shared_ptr<bool> aborted = std::make_shared<bool>(false);
  std::shared_ptr<EventState> finished = std::make_shared<EventState>();  // its work, in its stream

  void wait(cudaStream_t stream, const std::shared_ptr<EventState>& event) {
    awaited.push_back(event);
    Runtime::get().submit(stream, waits(event));
    finish_kernel(stream);
  }
  void finish_kernel(cudaStream_t stream) {
    Runtime::get().submit(stream, {nullptr, nullptr, finished, ++finished->issued});
  }
  bool is_finished() const { return finished->done >= finished->issued; }

  bool in_progress() const {
    return meeting->joined < meeting->size || enqueue ||
           (finalizing && meeting->finalizing < meeting->size);
  }
};

namespace {

// `enqueue` runs after some polls.
ncclResult_t begin(ncclComm_t communicator, std::function<void()> enqueue) {
  if (!communicator || communicator->in_progress() || communicator->finalizing) return misuse();
  if (std::exchange(g_fail_next, false)) {
    communicator->failure = ncclRemoteError;
    return ncclInProgress;
  }
  communicator->enqueue = std::move(enqueue);
  communicator->polls_left = std::exchange(g_stall_next, false) ? kPollsOfAStall : kPollsToEnqueue;
  return ncclInProgress;
}

}  // namespace

namespace seq1f1b::testing {

void fail_next_operation() {
  const std::scoped_lock lock(Runtime::get().mutex);
  g_fail_next = true;
}
void stall_next_operation() {
  const std::scoped_lock lock(Runtime::get().mutex);
  g_stall_next = true;
}
NcclCounts nccl_counts() {
  const std::scoped_lock lock(Runtime::get().mutex);
  return g_counts;
}

}  // namespace seq1f1b::testing

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  const std::scoped_lock lock(Runtime::get().mutex);
  static int made = 0;
  *id = {};
  ++made;
  std::memcpy(id->internal, &made, sizeof made);
  return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* communicator, int size, ncclUniqueId id, int rank,
                                    ncclConfig_t* config) {
  const std::scoped_lock lock(Runtime::get().mutex);
  if (config->blocking != 0 || rank < 0 || rank >= size) return misuse();
  auto& meeting = meetings()[std::string(id.internal, sizeof id.internal)];
  if (!meeting) meeting = std::make_shared<Meeting>();
  meeting->size = size;
  ++meeting->joined;
  ++g_counts.made;
  *communicator = new ncclComm;
  (*communicator)->meeting = meeting;
  (*communicator)->rank = rank;
  return ncclInProgress;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t communicator, ncclResult_t* state) {
  const std::scoped_lock lock(Runtime::get().mutex);
  if (communicator->enqueue && --communicator->polls_left <= 0)
    std::exchange(communicator->enqueue, nullptr)();
  *state = communicator->failure != ncclSuccess ? communicator->failure
           : communicator->in_progress()        ? ncclInProgress
                                                : ncclSuccess;
  return ncclSuccess;
}

ncclResult_t ncclCommFinalize(ncclComm_t communicator) {
  const std::scoped_lock lock(Runtime::get().mutex);
  if (communicator->in_progress()) return misuse();
  communicator->finalizing = true;
  ++communicator->meeting->finalizing;
  return ncclInProgress;
}

ncclResult_t ncclCommDestroy(ncclComm_t communicator) {
  const std::scoped_lock lock(Runtime::get().mutex);
  if (communicator->in_progress() || !communicator->finalizing) return misuse();
  ++g_counts.destroyed;
  delete communicator;
  return ncclSuccess;
}

ncclResult_t ncclCommAbort(ncclComm_t communicator) {
  using Clock = std::chrono::steady_clock;
  Runtime& runtime = Runtime::get();
  std::unique_lock lock(runtime.mutex);
  ++g_counts.aborted;
  *communicator->aborted = true;
  for (const auto& event : communicator->awaited) event->done = 1;
  for (auto& [route, messages] : communicator->meeting->unmatched_sends)
    if (route.first == communicator->rank) messages.clear();
  for (auto& [route, messages] : communicator->meeting->unmatched_receives)
    if (route.second == communicator->rank) messages.clear();
  const Clock::time_point end = Clock::now() + kLongestAbort;
  while (!communicator->is_finished() && runtime.sticky == cudaSuccess) {
    if (Clock::now() > end) {
      ++g_counts.hung;
      return ncclSystemError;  // NCCL would wait for ever
    }
    if (runtime.step()) continue;
    lock.unlock();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    lock.lock();
  }
  delete communicator;
  return ncclSuccess;
}

const char* ncclGetErrorString(ncclResult_t result) {
  return result == ncclRemoteError ? "remote process exited or there was a network error"
                                   : "misuse";
}
const char* ncclGetLastError(ncclComm_t) { return ""; }

ncclResult_t ncclSend(const void* data, std::size_t count, ncclDataType_t, int peer,
                      ncclComm_t communicator, cudaStream_t stream) {
  const std::scoped_lock lock(Runtime::get().mutex);
  return begin(communicator, [=] {
    const std::pair<int, int> route(communicator->rank, peer);
    auto& receives = communicator->meeting->unmatched_receives[route];
    std::shared_ptr<Message> message;
    if (receives.empty()) {
      message = std::make_shared<Message>();
      communicator->meeting->unmatched_sends[route].push_back(message);
    } else {
      message = receives.front();
      receives.pop_front();
    }
    message->source = static_cast<const std::byte*>(data);
    message->bytes = count;
    Runtime::get().submit(stream, runs_and_records(nullptr, message->sender_came));
    communicator->wait(stream, message->received);
  });
}

ncclResult_t ncclRecv(void* data, std::size_t count, ncclDataType_t, int peer,
                      ncclComm_t communicator, cudaStream_t stream) {
  const std::scoped_lock lock(Runtime::get().mutex);
  return begin(communicator, [=] {
    const std::pair<int, int> route(peer, communicator->rank);
    auto& sends = communicator->meeting->unmatched_sends[route];
    std::shared_ptr<Message> message;
    if (sends.empty()) {
      message = std::make_shared<Message>();
      communicator->meeting->unmatched_receives[route].push_back(message);
    } else {
      message = sends.front();
      sends.pop_front();
    }
    communicator->wait(stream, message->sender_came);
    Runtime::get().submit(stream, runs_and_records(
                                      [=, aborted = communicator->aborted] {
                                        if (!*aborted)
                                          std::memcpy(data, message->source,
                                                      std::min(count, message->bytes));
                                      },
                                      message->received));
    communicator->finish_kernel(stream);
  });
}

namespace {

// `combine` runs when all members' streams have come here.
ncclResult_t collective(const void* input, void* output, ncclComm_t communicator,
                        cudaStream_t stream, std::function<void(const Collective&)> combine) {
  return begin(communicator, [=, combine = std::move(combine)] {
    const std::shared_ptr<Meeting> meeting = communicator->meeting;
    auto& all = meeting->collectives[communicator->collectives++];
    if (!all) {
      all = std::make_shared<Collective>();
      all->left = meeting->size;
    }
    const int rank = communicator->rank;
    // The last member's stream to come here works for all; the event is passed by hand.
    Runtime::get().submit(stream, {[=, all = all] {
                                     all->parts[rank] = {input, output};
                                     if (--all->left > 0) return;
                                     combine(*all);
                                     all->done->done = 1;
                                   },
                                   nullptr, nullptr, 0});
    communicator->wait(stream, all->done);
  });
}

}  // namespace

ncclResult_t ncclAllReduce(const void* input, void* output, std::size_t count, ncclDataType_t type,
                           ncclRedOp_t, ncclComm_t communicator, cudaStream_t stream) {
  const std::scoped_lock lock(Runtime::get().mutex);
  return collective(input, output, communicator, stream,
                    [=](const Collective& all) { add_up(all, type, count, count, 0); });
}

ncclResult_t ncclReduceScatter(const void* input, void* output, std::size_t output_count,
                               ncclDataType_t type, ncclRedOp_t, ncclComm_t communicator,
                               cudaStream_t stream) {
  const std::scoped_lock lock(Runtime::get().mutex);
  return collective(input, output, communicator, stream, [=](const Collective& all) {
    add_up(all, type, output_count * all.parts.size(), output_count, output_count);
  });
}

ncclResult_t ncclAllGather(const void* input, void* output, std::size_t input_count,
                           ncclDataType_t type, ncclComm_t communicator, cudaStream_t stream) {
  const std::scoped_lock lock(Runtime::get().mutex);
  return collective(input, output, communicator, stream, [=](const Collective& all) {
    const std::size_t bytes = input_count * bytes_of(type);
    for (const auto& [from, source] : all.parts)
      for (const auto& [to, target] : all.parts)
        std::memmove(
            static_cast<std::byte*>(target.output) + static_cast<std::size_t>(from) * bytes,
            source.input, bytes);
  });
}

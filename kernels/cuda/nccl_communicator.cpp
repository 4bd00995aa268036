// A communicator of NCCL with a stream of its own, in NCCL's non-blocking mode: whatever needs
// another member's part (construction, the first use of a connection, closing) goes on in a thread
// of NCCL while the caller polls, so that an unresponsive member can be given up (NCCL user
// guide, "Creating a communicator with options" and "Error handling"). The price is that NCCL
// enqueues every operation from such a thread, and nothing may use the communicator or its stream
// before it has: some tens of microseconds by the look of NCCL's group.cc, not measured.
//
// One host thread makes all calls of a rank, which is what keeps several communicators on one
// device in the same order on all ranks.
#include "kernels/cuda/nccl_communicator.h"

#include <nccl.h>

#include <chrono>
#include <cstring>
#include <future>
#include <thread>
#include <utility>

#include "kernels/cuda/check.h"
#include "kernels/cuda/device.h"

namespace seq1f1b::kernels::cuda {
namespace {

using Clock = std::chrono::steady_clock;

// For a member that has not come to close yet, and for an abort. What is lost afterwards is only
// good manners.
constexpr std::chrono::seconds kClosingTime{3};

bool is_fine(ncclResult_t result) { return result == ncclSuccess || result == ncclInProgress; }

std::string describe(const char* what, ncclResult_t result, ncclComm_t communicator = nullptr) {
  const char* detail = ncclGetLastError(communicator);
  return concat("NCCL, ", what, ": ", ncclGetErrorString(result), detail && *detail ? ", " : "",
                detail ? detail : "");
}

// Highest priority: a message that has come must not queue behind blocks of the computation.
cudaStream_t make_stream() {
  int lowest = 0, highest = 0;
  check(cudaDeviceGetStreamPriorityRange(&lowest, &highest), "asking for priorities of streams");
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, highest),
        "creating a stream for messages");
  return stream;
}

ncclDataType_t nccl_type(const Tensor& values) {
  switch (values.dtype) {
    case Dtype::kF64:
      return ncclFloat64;
    case Dtype::kF32:
      return ncclFloat32;
    case Dtype::kBf16:
      return ncclBfloat16;
    case Dtype::kI32:
      break;
  }
  SEQ1F1B_ASSERT(false, "a collective over ", kernels::describe(values));
  return ncclFloat32;
}

class NcclCommunicator final : public Communicator {
 public:
  // On the current GPU.
  explicit NcclCommunicator(const CommunicatorOptions& options)
      : rank_(options.rank), size_(options.size), stream_(make_stream()) {
    ncclUniqueId id;
    static_assert(sizeof id == sizeof options.id);
    std::memcpy(&id, options.id.data(), sizeof id);
    check(cudaGetDevice(&gpu_), "asking for the current GPU");
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
#if NCCL_VERSION_CODE >= 22700  // 2.27: names it in NCCL's own messages
    config.commName = "seq1f1b";
#endif
    if (options.multiprocessors > 0) config.maxCTAs = options.multiprocessors;
    take(ncclCommInitRankConfig(&communicator_, options.size, id, options.rank, &config),
         "beginning a communicator");
  }

  ~NcclCommunicator() override {
    if (!close()) abort();
    // A stream that is still waited for is left behind.
    if (aborted_.valid() && aborted_.wait_for(kClosingTime) != std::future_status::ready) return;
    cudaStreamDestroy(stream_);
  }
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;

  bool ready() override { return state() != ncclInProgress; }

  void wait(Event& event) override {
    check_ready();
    check(cudaStreamWaitEvent(stream_, cuda_event(event).handle(), 0), "waiting for an event");
  }
  void record(Event& event) override {
    check_ready();
    check(cudaEventRecord(cuda_event(event).handle(), stream_), "recording an event");
  }

  void send(const void* data, std::size_t bytes, int peer) override {
    check_ready();
    take(ncclSend(data, bytes, ncclChar, peer, communicator_, stream_), "sending");
  }
  void receive(void* data, std::size_t bytes, int peer) override {
    check_ready();
    take(ncclRecv(data, bytes, ncclChar, peer, communicator_, stream_), "receiving");
  }
  void all_reduce_sum(const Tensor& values) override {
    check_ready();
    take(ncclAllReduce(values.data, values.data, static_cast<std::size_t>(values.elements()),
                       nccl_type(values), ncclSum, communicator_, stream_),
         "adding up");
  }
  // In place means to NCCL that the shard lies within the whole where its member's belongs (user
  // guide, "In-place operations").
  void reduce_scatter_sum(const Tensor& values) override {
    const Shard own = shard(values);
    check_ready();
    take(ncclReduceScatter(values.data, own.data, own.elements, nccl_type(values), ncclSum,
                           communicator_, stream_),
         "adding up shards");
  }
  void all_gather(const Tensor& values) override {
    const Shard own = shard(values);
    check_ready();
    take(ncclAllGather(own.data, values.data, own.elements, nccl_type(values), communicator_,
                       stream_),
         "gathering shards");
  }

  void finish() override {
    if (finishing_ || !communicator_ || !failure_.empty() || state() == ncclInProgress) return;
    finishing_ = true;
    take(ncclCommFinalize(communicator_), "closing");
  }

  std::string failure() override {
    (void)state();
    return failure_;
  }

  // On a thread of its own. ncclCommAbort makes kernels end that run and then waits for all of the
  // communicator's work (commDestroySync in NCCL's init.cc), some of which may stand behind the
  // main queue, and that behind a kernel of another communicator, which has to be aborted, too.
  void abort() noexcept override {
    if (!communicator_) return;
    try {
      std::packaged_task<void()> task([gpu = gpu_, communicator = communicator_] {
        cudaSetDevice(gpu);
        ncclCommAbort(communicator);
      });
      communicator_ = nullptr;
      aborted_ = task.get_future();
      std::thread(std::move(task)).detach();
    } catch (const std::exception&) {
      // No thread to be had: the end of the process, which is near, ends it.
    }
  }

 private:
  struct Shard {
    void* data;
    std::size_t elements;
  };
  Shard shard(const Tensor& values) const {
    SEQ1F1B_ASSERT(values.elements() % size_ == 0, "shards of ", kernels::describe(values), " for ",
                   size_, " members");
    const auto elements = static_cast<std::size_t>(values.elements() / size_);
    const std::size_t bytes = elements * dtype_bytes(values.dtype);
    return {values.as<std::byte>() + static_cast<std::size_t>(rank_) * bytes, elements};
  }

  // Success where there is nothing left to ask: after a failure or an abort nothing is in progress.
  ncclResult_t state() {
    if (!communicator_ || !failure_.empty()) return ncclSuccess;
    ncclResult_t state = ncclSuccess;
    const ncclResult_t asked = ncclCommGetAsyncError(communicator_, &state);
    take(asked == ncclSuccess ? state : asked, "in the background");
    return failure_.empty() ? state : ncclSuccess;
  }

  void take(ncclResult_t result, const char* what) {
    if (!is_fine(result) && failure_.empty()) failure_ = describe(what, result, communicator_);
  }

  void check_ready() {
    SEQ1F1B_ASSERT(communicator_, "an aborted communicator is used");
    SEQ1F1B_ASSERT(ready(), "a communicator is used while its last operation is being enqueued");
  }

  // Whether everything was sent and received and the communicator is gone.
  bool close() noexcept {
    if (!communicator_ || !failure().empty()) return false;
    const Clock::time_point end = Clock::now() + kClosingTime;
    const auto comes_true = [end](const auto& condition) {
      while (!condition()) {
        if (Clock::now() > end) return false;
        std::this_thread::sleep_for(std::chrono::microseconds(100));
      }
      return true;
    };
    if (!comes_true([&] { return state() != ncclInProgress; })) return false;
    if (!comes_true([&] { return is_idle(stream_); })) return false;
    finish();
    if (!comes_true([&] { return state() != ncclInProgress; }) || !failure_.empty()) return false;
    const ncclResult_t destroyed = ncclCommDestroy(communicator_);
    communicator_ = nullptr;
    return is_fine(destroyed);
  }

  const int rank_, size_;
  cudaStream_t stream_;
  int gpu_ = 0;
  ncclComm_t communicator_ = nullptr;
  bool finishing_ = false;
  std::string failure_;
  std::future<void> aborted_;  // valid from abort() on
};

}  // namespace

bool make_communicator_id(CommunicatorId& id, std::string& error) {
  ncclUniqueId unique;
  static_assert(sizeof unique == sizeof id);
  const ncclResult_t result = ncclGetUniqueId(&unique);
  if (result != ncclSuccess) {
    error = describe("making the id of a communicator", result);
    return false;
  }
  std::memcpy(id.data(), &unique, sizeof unique);
  return true;
}

std::unique_ptr<Communicator> make_communicator(Device& device, const CommunicatorOptions& options,
                                                std::string& error) {
  try {
    check(cudaSetDevice(cuda_device(device).index()), "choosing a GPU");
    auto communicator = std::make_unique<NcclCommunicator>(options);
    error = communicator->failure();
    if (error.empty()) return communicator;
  } catch (const std::exception& fault) {
    error = fault.what();
  }
  return nullptr;
}

}  // namespace seq1f1b::kernels::cuda

#include "core/comm/watch.h"

#include <algorithm>
#include <utility>

#include "kernels/common/errors.h"

namespace seq1f1b::comm {

class Watchdog::Block final : public Watch {
 public:
  Block(Watchdog& owner, std::string what)
      : owner_(owner), what_(std::move(what)), outer_(owner.now_) {
    owner_.enter(what_);
  }
  ~Block() override { owner_.enter(outer_); }
  void next(const std::string& detail) override { owner_.enter(concat(what_, " (", detail, ")")); }

 private:
  Watchdog& owner_;
  const std::string what_, outer_;
};

Watchdog::Watchdog(std::chrono::duration<double> deadline,
                   std::function<void(const std::string& what)> expired)
    : deadline_(deadline), expired_(std::move(expired)) {}

void Watchdog::stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  stopped_.notify_one();
  if (thread_.joinable()) thread_.join();
}

std::unique_ptr<Watch> Watchdog::watch(const std::string& what) {
  if (!thread_.joinable()) thread_ = std::thread([this] { look(); });
  return std::make_unique<Block>(*this, what);
}

void Watchdog::enter(std::string what) {
  const std::lock_guard lock(mutex_);
  now_ = std::move(what);
  ++entry_;
}

// Looks at the same pace all the time, so that whoever is watched need not wake it. A slice counts
// as its own length: a process that was suspended and continued has not hung meanwhile.
void Watchdog::look() {
  using Seconds = std::chrono::duration<double>;
  const Seconds slice = std::min(Seconds(1), deadline_ / 4);
  Seconds lasted{0};
  std::uint64_t seen = 0;
  std::unique_lock lock(mutex_);
  while (!stopped_.wait_for(lock, slice, [&] { return stop_; })) {
    lasted = !now_.empty() && seen == entry_ ? lasted + slice : Seconds(0);
    seen = entry_;
    if (lasted < deadline_) continue;
    const std::string what = now_;
    lock.unlock();
    return expired_(what);
  }
}

}  // namespace seq1f1b::comm

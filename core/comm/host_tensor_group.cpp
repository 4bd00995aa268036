#include "core/comm/host_tensor_group.h"

#include <algorithm>
#include <array>

#include "core/comm/rank_names.h"
#include "kernels/common/bf16.h"
#include "kernels/common/errors.h"

namespace seq1f1b::comm {
namespace {

// A sum that takes this much in all from the peers is exchanged whole, in one round instead of two.
constexpr std::size_t kWholeBytes = std::size_t{64} << 10;
// What is received at a time for a longer sum; large enough to hide the cost of a round.
constexpr std::size_t kScratchBytes = std::size_t{4} << 20;

struct Stopped {};  // the group goes

// total[i] = (terms[0][i] + terms[1][i]) + ..., rounded to the stored type at the end. `total` may
// be one of the terms.
template <class Stored, class Sum>
void add_up_terms(std::span<const std::byte* const> terms, std::span<std::byte> total) {
  constexpr std::size_t kBlock = 1024;
  std::array<Sum, kBlock> sums;
  const std::size_t count = total.size() / sizeof(Stored);
  for (std::size_t first = 0; first < count; first += kBlock) {
    const std::size_t block = std::min(kBlock, count - first);
    const auto at = [&](const std::byte* values) {
      return reinterpret_cast<const Stored*>(values) + first;
    };
    const Stored* term = at(terms.front());
    for (std::size_t i = 0; i < block; ++i) sums[i] = static_cast<Sum>(term[i]);
    for (const std::byte* values : terms.subspan(1)) {
      term = at(values);
      for (std::size_t i = 0; i < block; ++i) sums[i] += static_cast<Sum>(term[i]);
    }
    Stored* const target = reinterpret_cast<Stored*>(total.data()) + first;
    for (std::size_t i = 0; i < block; ++i) target[i] = static_cast<Stored>(sums[i]);
  }
}

}  // namespace

HostTensorGroup::HostTensorGroup(Transport& transport, std::vector<int> members, int tag,
                                 std::size_t in_flight_bytes)
    : TensorGroup(static_cast<int>(std::ranges::find(members, transport.rank()) - members.begin()),
                  static_cast<int>(members.size()), in_flight_bytes),
      transport_(transport),
      exchange_(transport, std::move(members), tag) {
  if (size() == 1) return;
  const auto peers = static_cast<std::size_t>(size() - 1);
  scratch_bytes_ = std::max(kScratchBytes, peers * sizeof(double));
  scratch_ = std::make_unique_for_overwrite<std::byte[]>(scratch_bytes_);
  terms_.reserve(static_cast<std::size_t>(size()));
}

HostTensorGroup::~HostTensorGroup() {
  if (!thread_.joinable()) return;
  try {
    if (std::uncaught_exceptions() == 0 && transport_.healthy())
      wait_until_done(begun_, [] { return std::string("closing a group"); });
  } catch (const std::exception&) {
    // The transport has failed; the next call of its owner reports it.
  }
  thread_.request_stop();
  transport_.change([] {});  // wakes it where it sleeps
  thread_.join();
}

void HostTensorGroup::begin(const Collective& collective, const Describe&) {
  if (!thread_.joinable())
    thread_ = std::jthread([this](const std::stop_token& stop) { work(stop); });
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back(collective);
  }
  queued_.notify_one();
  ++begun_;
}

void HostTensorGroup::finish_oldest(const Describe& what) {
  wait_until_done(finished_ + 1, what);
  ++finished_;
}

void HostTensorGroup::wait_until_done(std::uint64_t count, const Describe& what) {
  std::exception_ptr failure;
  const auto over = [&] {
    if (done_ < count) failure = failure_;
    return done_ >= count || failure;
  };
  const auto whom = [&] {
    if (!waits_for_.empty()) return Transport::missing_peers(waits_for_);
    std::vector<int> others = exchange_.members();
    std::erase(others, transport_.rank());
    return rank_names(others);
  };
  transport_.wait_for(over, whom, what);
  if (failure) std::rethrow_exception(failure);
}

// ---- on the thread ------------------------------------------------------------------------------

void HostTensorGroup::work(const std::stop_token& stop) {
  stop_ = stop;
  for (;;) {
    Collective next;
    {
      std::unique_lock lock(mutex_);
      queued_.wait(lock, stop, [&] { return !queue_.empty(); });
      if (stop.stop_requested()) return;
      next = queue_.front();
      queue_.pop_front();
    }
    try {
      run(next);
      transport_.change([&] { ++done_; });
    } catch (const Stopped&) {
      return;
    } catch (...) {
      return transport_.change([&] { failure_ = std::current_exception(); });
    }
  }
}

void HostTensorGroup::run(const Collective& collective) {
  dtype_ = collective.values.dtype;
  const std::span<std::byte> values(collective.values.as<std::byte>(), collective.values.bytes());
  const std::size_t shard_bytes = values.size() / static_cast<std::size_t>(size());
  switch (collective.kind) {
    case Kind::kAllReduceSum:
      return sum(values);
    case Kind::kReduceScatterSum:
      for (std::size_t at = 0; at < shard_bytes; at += longest_part())
        add_up([&](int member) {
          return values.subspan(static_cast<std::size_t>(member) * shard_bytes + at,
                                std::min(longest_part(), shard_bytes - at));
        });
      return;
    case Kind::kAllGather:
      return share([&](int member) {
        return values.subspan(static_cast<std::size_t>(member) * shard_bytes, shard_bytes);
      });
  }
}

// Member m adds up the m-th slice and hands the total to all: the least traffic, and the same sum,
// element by element, as if the values had been exchanged whole.
void HostTensorGroup::sum(std::span<std::byte> values) {
  const auto members = static_cast<std::size_t>(size());
  if (values.size() * (members - 1) <= kWholeBytes) return add_up([&](int) { return values; });
  const std::size_t element = kernels::dtype_bytes(dtype_);
  while (!values.empty()) {
    const std::size_t elements = values.size() / element;
    const std::size_t length =
        std::min(longest_part(), (elements + members - 1) / members * element);
    const auto slice = [&](int member) {
      const std::size_t begin = std::min(static_cast<std::size_t>(member) * length, values.size());
      return values.subspan(begin, std::min(length, values.size() - begin));
    };
    add_up(slice);
    share(slice);
    values = values.subspan(std::min(members * length, values.size()));
  }
}

// Whole elements whose contributions from all others fit the scratch memory.
std::size_t HostTensorGroup::longest_part() const {
  const std::size_t element = kernels::dtype_bytes(dtype_);
  return scratch_bytes_ / static_cast<std::size_t>(size() - 1) / element * element;
}

void HostTensorGroup::add_up(const Exchange::Part& part) {
  const std::span<std::byte> own = part(rank());
  const auto contribution = [&](int member) {
    const auto place = static_cast<std::size_t>(member < rank() ? member : member - 1);
    return std::span(scratch_.get() + place * own.size(), own.size());
  };
  exchange_.receive_from_others(contribution);
  exchange_.send_to_others(part);
  run_round();
  terms_.clear();
  for (int member = 0; member < size(); ++member)
    terms_.push_back(member == rank() ? own.data() : contribution(member).data());
  switch (dtype_) {
    case kernels::Dtype::kF64:
      return add_up_terms<double, double>(terms_, own);
    case kernels::Dtype::kF32:
      return add_up_terms<float, float>(terms_, own);
    case kernels::Dtype::kBf16:
      return add_up_terms<kernels::Bf16, float>(terms_, own);
    case kernels::Dtype::kI32:
      break;
  }
  SEQ1F1B_ASSERT(false, "a sum of ", kernels::dtype_name(dtype_));
}

void HostTensorGroup::share(const Exchange::Part& part) {
  exchange_.receive_from_others(part);
  exchange_.send_to_others([&](int) { return part(rank()); });
  run_round();
}

void HostTensorGroup::run_round() {
  exchange_.run([&](std::span<const Transfer> round) {
    transport_.wait_in_background([&] {
      const bool over = stop_.stop_requested() || Transport::settled(round);
      waits_for_ = over ? std::span<const Transfer>() : round;
      return over;
    });
    if (stop_.stop_requested()) throw Stopped();
  });
}

}  // namespace seq1f1b::comm

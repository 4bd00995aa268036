// Worlds whose ranks are threads of one process. A message is copied by whoever comes second, the
// sender or the receiver, straight from one ring into the other.
#include <climits>
#include <cstring>
#include <deque>
#include <map>
#include <tuple>

#include "core/comm/basic_world.h"
#include "kernels/common/errors.h"

namespace seq1f1b::comm {
namespace {

class Switchboard;

class InProcessTransport final : public Transport {
 public:
  InProcessTransport(int rank, int size, Switchboard& board, const WorldOptions& options)
      : Transport(options), rank_(rank), size_(size), board_(board) {}
  ~InProcessTransport() override { stop_watching(); }
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  int max_tag() const override { return INT_MAX; }
  void post(std::span<Transfer> transfers) override;
  void withdraw(std::span<Transfer> transfers) noexcept override;

  void set_state(Transfer& transfer, Transfer::State state) {
    const std::lock_guard lock(mutex_);
    transfer.state = state;
  }
  void finish(Transfer& transfer) { complete(transfer); }
  void break_down(std::exception_ptr failure) { fail(std::move(failure)); }

 private:
  const int rank_;
  const int size_;
  Switchboard& board_;
};

// Where sends and receives of all ranks meet.
class Switchboard {
 public:
  Switchboard(int size, const WorldOptions& options) {
    for (int rank = 0; rank < size; ++rank) {
      ranks_.push_back(std::make_unique<InProcessTransport>(rank, size, *this, options));
    }
  }
  InProcessTransport& of(int rank) { return *ranks_.at(static_cast<std::size_t>(rank)); }

  void post(InProcessTransport& owner, Transfer& transfer) {
    const bool sends = transfer.direction == Transfer::Direction::kSend;
    const Key key{transfer.lane, sends ? owner.rank() : transfer.peer,
                  sends ? transfer.peer : owner.rank(), transfer.tag};
    owner.set_state(transfer, Transfer::State::kActive);
    const std::lock_guard lock(mutex_);
    Line& line = lines_[key];
    auto& counterparts = sends ? line.receives : line.sends;
    if (counterparts.empty()) {
      (sends ? line.sends : line.receives).push_back({&owner, &transfer});
      return;
    }
    const Party own{&owner, &transfer};
    const Party other = counterparts.front();
    counterparts.pop_front();
    deliver(sends ? own : other, sends ? other : own);
  }

  void withdraw(InProcessTransport& owner, std::span<Transfer> transfers) {
    const std::lock_guard lock(mutex_);
    const auto is_ours = [&](const Party& party) {
      return party.transfer >= transfers.data() &&
             party.transfer < transfers.data() + transfers.size();
    };
    for (auto& [key, line] : lines_) {
      std::erase_if(line.sends, is_ours);
      std::erase_if(line.receives, is_ours);
    }
    for (Transfer& transfer : transfers) owner.set_state(transfer, Transfer::State::kIdle);
  }

  void interrupt_all_but(int rank, const std::string& reason) {
    for (const auto& transport : ranks_) {
      if (transport->rank() != rank) transport->interrupt(reason);
    }
  }

 private:
  using Key = std::tuple<Lane, int, int, int>;  // lane, from, to, tag
  struct Party {
    InProcessTransport* owner;
    Transfer* transfer;
  };
  struct Line {
    std::deque<Party> sends, receives;
  };

  static void deliver(const Party& from, const Party& to) {
    const std::span<std::byte> source = from.transfer->bytes;
    const std::span<std::byte> target = to.transfer->bytes;
    if (source.size() != target.size()) {
      to.owner->break_down(std::make_exception_ptr(
          MismatchError(concat(to.owner->name(), ": rank ", from.owner->rank(), " sent ",
                               source.size(), " bytes where ", target.size(), " were expected"))));
    } else {
      if (!source.empty()) std::memcpy(target.data(), source.data(), source.size());
      to.owner->finish(*to.transfer);
    }
    from.owner->finish(*from.transfer);
  }

  std::vector<std::unique_ptr<InProcessTransport>> ranks_;
  std::mutex mutex_;
  std::map<Key, Line> lines_;
};

void InProcessTransport::post(std::span<Transfer> transfers) {
  for (Transfer& transfer : transfers) board_.post(*this, transfer);
}

void InProcessTransport::withdraw(std::span<Transfer> transfers) noexcept {
  board_.withdraw(*this, transfers);
}

class InProcessWorld final : public BasicWorld {
 public:
  InProcessWorld(int rank, std::shared_ptr<Switchboard> board)
      : BasicWorld(board->of(rank)), board_(std::move(board)) {}

  std::string description() const override { return "threads of one process"; }
  int local_rank() const override { return rank(); }
  int local_size() const override { return size(); }

  [[noreturn]] void abort(int exit_code) override {
    const std::string reason =
        concat("rank ", rank(), " aborted the job with exit code ", exit_code);
    board_->interrupt_all_but(rank(), reason);
    throw Error(static_cast<ExitCode>(exit_code), reason);
  }

  void finalize() override {
    meet_all([] { return std::string("leaving the job"); });
  }

 private:
  std::shared_ptr<Switchboard> board_;
};

}  // namespace

std::vector<std::unique_ptr<World>> make_in_process_worlds(int size, const WorldOptions& options) {
  SEQ1F1B_ASSERT(size > 0, "a world of ", size, " ranks");
  const auto board = std::make_shared<Switchboard>(size, options);
  std::vector<std::unique_ptr<World>> worlds;
  for (int rank = 0; rank < size; ++rank) {
    worlds.push_back(std::make_unique<InProcessWorld>(rank, board));
  }
  return worlds;
}

}  // namespace seq1f1b::comm

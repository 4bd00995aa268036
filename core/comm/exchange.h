#pragma once
// Rounds of messages among the members of a group, over a transport. Members exchange directly:
// nothing needs a communicator of its own, and every wait can name the very ranks it waits for.
#include <functional>
#include <span>
#include <vector>

#include "core/comm/transport.h"

namespace seq1f1b::comm {

// One member's end. A round is put together by receive and send, receives first, and run.
class Exchange {
 public:
  // `members` are ranks of the world and contain this one; `tag` is the group's own.
  Exchange(Transport& transport, std::vector<int> members, int tag);

  int rank() const { return rank_; }  // within the group
  int size() const { return static_cast<int>(members_.size()); }
  const std::vector<int>& members() const { return members_; }

  void receive(int member, std::span<std::byte> bytes);
  void send(int member, std::span<const std::byte> bytes);
  // The same messages to and from all others: part(member) is what that member receives or sends.
  using Part = std::function<std::span<std::byte>(int member)>;
  void receive_from_others(const Part& part);
  void send_to_others(const Part& part);

  // Posts the round and calls wait(round), which returns when it is done. Where that throws, takes
  // the round back: nothing touches its bytes any more. Nothing happens in a round without
  // messages.
  template <class Wait>
  void run(const Wait& wait) {
    if (round_.empty()) return;
    try {
      transport_.post(round_);
      wait(std::span<const Transfer>(round_));
    } catch (...) {
      transport_.withdraw(round_);
      round_.clear();
      throw;
    }
    round_.clear();
  }

 private:
  void add(Transfer::Direction direction, int member, std::span<std::byte> bytes);

  Transport& transport_;
  const std::vector<int> members_;
  const int tag_;
  int rank_ = -1;
  std::vector<Transfer> round_;
};

}  // namespace seq1f1b::comm

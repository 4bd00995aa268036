#pragma once
// What the worlds share: channels and groups over a transport.
#include "core/comm/transport.h"
#include "core/comm/world.h"

namespace seq1f1b::comm {

// A world outlives its channels and groups.
class BasicWorld : public World {
 public:
  int rank() const override { return transport_.rank(); }
  int size() const override { return transport_.size(); }
  std::unique_ptr<Sender> make_sender(int to, int id,
                                      std::vector<std::span<std::byte>> buffers) override;
  std::unique_ptr<Receiver> make_receiver(int from, int id,
                                          std::vector<std::span<std::byte>> buffers) override;
  std::unique_ptr<Group> make_group(std::span<const int> members) override;
  std::unique_ptr<TensorGroup> make_tensor_group(std::span<const int> members,
                                                 std::size_t in_flight_bytes) override;
  std::size_t library_bytes() const override { return group_bytes_; }
  void wait_until(const std::function<bool()>& done, const Describe& whom,
                  const Describe& what) override {
    transport_.wait_until(done, whom, what);
  }
  std::unique_ptr<Watch> watch(const std::string& what) override { return transport_.watch(what); }
  [[noreturn]] void break_off(const std::string& why, const Describe& what) override {
    transport_.break_off(why, what());
  }

 protected:
  explicit BasicWorld(Transport& transport) : transport_(transport) {}
  // All ranks have come this far.
  void meet_all(const Describe& what);

 private:
  // The next group's tag; -1 where this rank is not a member.
  int next_group(std::span<const int> members);

  Transport& transport_;
  int groups_made_ = 0;  // the next group's tag; equal on all ranks
  std::size_t group_bytes_ = 0;
};

}  // namespace seq1f1b::comm

#pragma once
// The control plane: what the hosts of some ranks tell each other, such as outcomes, choices and
// sizes. Typed, small and blocking; what the ranks compute with travels over a fabric (fabric.h).
#include <cstddef>
#include <memory>
#include <ranges>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "core/comm/describe.h"
#include "core/comm/watch.h"

namespace seq1f1b::comm {

// What travels as its bytes. All ranks run the same program, so they agree on the layout.
template <class T>
concept PlainValue = std::is_trivially_copyable_v<T> && std::is_default_constructible_v<T> &&
                     !std::is_pointer_v<T> &&
                     !std::is_array_v<T> && !std::ranges::view<T>;

// All members call the same operations in the same order. Each returns when its result is there and
// throws as World says where a member does not come. Alone, a group sends nothing and waits for
// nothing. One thread per rank calls it.
class Group {
 public:
  virtual ~Group() = default;
  virtual int rank() const = 0;  // within the group
  virtual int size() const = 0;

  // The root's value to all. A span has as many values everywhere, a string any length at the root.
  template <PlainValue T>
  void broadcast(T& value, int root, const Describe& what) {
    broadcast_bytes(std::as_writable_bytes(std::span(&value, 1)), root, what);
  }
  template <PlainValue T>
  void broadcast(std::span<T> values, int root, const Describe& what) {
    broadcast_bytes(std::as_writable_bytes(values), root, what);
  }
  void broadcast(std::string& text, int root, const Describe& what);

  // Every member's value, by member. Spans and strings may differ in length.
  template <PlainValue T>
  std::vector<T> all_gather(const T& mine, const Describe& what) {
    std::vector<T> all(static_cast<std::size_t>(size()));
    std::vector<std::span<std::byte>> from;
    for (T& value : all) from.push_back(std::as_writable_bytes(std::span(&value, 1)));
    exchange(std::as_bytes(std::span(&mine, 1)), from, what);
    return all;
  }
  template <PlainValue T>
  std::vector<std::vector<T>> all_gather(std::span<const T> mine, const Describe& what) {
    return gather_containers<std::vector<T>>(mine, what);
  }
  std::vector<std::string> all_gather(const std::string& mine, const Describe& what) {
    return gather_containers<std::string>(std::span<const char>(mine), what);
  }

  // Element by element, added in member order: the same bits on all members.
  void all_reduce_sum(std::span<double> values, const Describe& what);
  // Returns when all members have called it.
  void barrier(const Describe& what);

  // Watches over what this rank does on its own while the object lives, files above all, in `what`
  // words ("loading the tokenizer"). Where it makes no progress before the deadline of waits for
  // peers, the job ends as it does for an unresponsive peer: "rank 2 (host): made no progress for
  // 600 s while WHAT". Neither made nor alive during another call of the group, which has a
  // deadline of its own. Not collective.
  virtual std::unique_ptr<Watch> watch(const std::string& what) = 0;

 protected:
  // `mine` to all members, and member m's bytes, as many as from[m] has room for, into from[m];
  // this member's place gets a copy. One round of messages.
  virtual void exchange(std::span<const std::byte> mine, std::span<const std::span<std::byte>> from,
                        const Describe& what) = 0;
  virtual void broadcast_bytes(std::span<std::byte> bytes, int root, const Describe& what) = 0;

 private:
  template <class Container, class T>
  std::vector<Container> gather_containers(std::span<const T> mine, const Describe& what) {
    const std::vector<std::size_t> lengths = all_gather(mine.size(), what);
    std::vector<Container> all;
    for (const std::size_t length : lengths) all.emplace_back().resize(length);
    std::vector<std::span<std::byte>> from;
    for (Container& container : all) from.push_back(std::as_writable_bytes(std::span(container)));
    exchange(std::as_bytes(mine), from, what);
    return all;
  }
};

}  // namespace seq1f1b::comm

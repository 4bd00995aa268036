#pragma once
// What every operation of this back end shares: the team of threads, the loops of this processor,
// and memory kept between calls.
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/cpu/rotary_table.h"
#include "kernels/cpu/row_loops.h"

namespace seq1f1b::kernels::cpu {

// Grows to the largest request and stays. New memory is NaN, so that a value read before it was
// written shows.
template <class T>
class Scratch {
 public:
  T* at_least(std::int64_t count) {
    if (static_cast<std::size_t>(count) > memory_.size())
      memory_.resize(static_cast<std::size_t>(count), std::numeric_limits<T>::quiet_NaN());
    return memory_.data();
  }
  std::size_t bytes() const { return memory_.capacity() * sizeof(T); }

 private:
  std::vector<T> memory_;
};

// T is what compute tensors are stored in.
template <class T>
struct Context {
  Context(int thread_count, Isa isa) : threads(thread_count), loops(row_loops<T>(isa)) {}

  int threads;
  const RowLoops<T>& loops;
  Scratch<float> floats;
  Scratch<double> doubles;
  RotaryTables rotary;

  std::size_t bytes() const { return floats.bytes() + doubles.bytes() + rotary.bytes(); }

  // Calls body(task) for every task in [0, tasks), each exactly once, on all threads, or on the
  // calling one when the work (in elements touched by all tasks together) would not repay the fork.
  // A task must not depend on others nor throw. Never a team of another size: libgomp would end the
  // threads that a smaller team leaves over and start them anew for the next.
  template <class Body>
  void for_each(std::int64_t tasks, std::int64_t work, const Body& body) const {
    constexpr std::int64_t kForkWork = 16384;  // some 5 us of memory traffic, a few times a fork
    if (threads == 1 || tasks == 1 || work < kForkWork) {
      for (std::int64_t task = 0; task < tasks; ++task) body(task);
      return;
    }
#pragma omp parallel for num_threads(threads) schedule(static)
    for (std::int64_t task = 0; task < tasks; ++task) body(task);
  }

  // Calls body(begin, end) for consecutive ranges covering [0, count), cut at the same places
  // whatever the number of threads.
  template <class Body>
  void for_ranges(std::int64_t count, const Body& body) const {
    constexpr std::int64_t kRange = 4096;
    for_each((count + kRange - 1) / kRange, count, [&](std::int64_t task) {
      const std::int64_t begin = task * kRange;
      body(begin, begin + kRange < count ? begin + kRange : count);
    });
  }
};

}  // namespace seq1f1b::kernels::cpu

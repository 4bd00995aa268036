#pragma once
// Warp vote, shuffle, match and reduce functions (CUDA C++ Programming Guide, sections of these
// names). All lanes of the mask must be there, at the same line of the source.
#include <cstdint>
#include <type_traits>

#include "kernels/simt/block.h"

namespace seq1f1b::simt {

template <class T>
struct Shuffle {
  T value, result;
  unsigned source;
  bool missing;
};

template <class T>
void complete_shuffle(const Lanes& lanes) {
  for (unsigned lane = 0; lane < kWarpSize; ++lane) {
    if (!lanes.arguments[lane]) continue;
    auto& call = *static_cast<Shuffle<T>*>(lanes.arguments[lane]);
    const auto* from = static_cast<const Shuffle<T>*>(lanes.arguments[call.source]);
    call.missing = from == nullptr;
    if (from) call.result = from->value;
  }
}

template <class T>
T shuffle(const char* name, std::uint32_t mask, T value, unsigned source, const Where& where) {
  static_assert(std::is_arithmetic_v<T> && sizeof(T) >= 4, "what CUDA's shuffles take");
  Shuffle<T> call{value, value, source, false};
  current_block().meet_warp(name, mask, &call, &complete_shuffle<T>, where);
  if (call.missing)
    current_block().fail(concat(name, " reads lane ", source, ", which is not in the mask"), where);
  return call.result;
}

// The lane that `lane` reads, from the guide's definition with sub-sections of `width` lanes.
inline unsigned shuffle_width(int width, const Where& where) {
  const auto w = static_cast<unsigned>(width);
  if (w == 0 || w > kWarpSize || (w & (w - 1)) != 0)
    current_block().fail(concat("shuffle of width ", width), where);
  return w;
}

struct Vote {
  bool predicate;
  std::uint32_t result;
};
inline void complete_ballot(const Lanes& lanes) {
  std::uint32_t ballot = 0;
  for (unsigned lane = 0; lane < kWarpSize; ++lane)
    if (lanes.arguments[lane] && static_cast<Vote*>(lanes.arguments[lane])->predicate)
      ballot |= 1u << lane;
  for (void* arguments : lanes.arguments)
    if (arguments) static_cast<Vote*>(arguments)->result = ballot;
}
inline std::uint32_t ballot(const char* name, std::uint32_t mask, bool predicate,
                            const Where& where) {
  Vote vote{predicate, 0};
  current_block().meet_warp(name, mask, &vote, &complete_ballot, where);
  return vote.result;
}

template <class T>
struct Match {
  T value;
  std::uint32_t result;
};
template <class T>
void complete_match(const Lanes& lanes) {
  for (void* arguments : lanes.arguments) {
    if (!arguments) continue;
    auto& call = *static_cast<Match<T>*>(arguments);
    for (unsigned other = 0; other < kWarpSize; ++other)
      if (lanes.arguments[other] &&
          static_cast<Match<T>*>(lanes.arguments[other])->value == call.value)
        call.result |= 1u << other;
  }
}

// Folds the values of all lanes, lowest lane first.
template <class T, class Fold>
void complete_reduce(const Lanes& lanes) {
  bool first = true;
  T total{};
  for (void* arguments : lanes.arguments) {
    if (!arguments) continue;
    const T value = *static_cast<T*>(arguments);
    total = first ? value : Fold{}(total, value);
    first = false;
  }
  for (void* arguments : lanes.arguments)
    if (arguments) *static_cast<T*>(arguments) = total;
}
template <class T, class Fold>
T reduce(const char* name, std::uint32_t mask, T value, const Where& where) {
  static_assert(std::is_integral_v<T> && sizeof(T) == 4, "what CUDA's reductions take");
  current_block().meet_warp(name, mask, &value, &complete_reduce<T, Fold>, where);
  return value;
}
struct Sum {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(static_cast<std::uint32_t>(a) + static_cast<std::uint32_t>(b));
  }
};
struct Least {
  template <class T>
  T operator()(T a, T b) const {
    return b < a ? b : a;
  }
};
struct Greatest {
  template <class T>
  T operator()(T a, T b) const {
    return a < b ? b : a;
  }
};
struct Either {
  template <class T>
  T operator()(T a, T b) const {
    return a | b;
  }
};

}  // namespace seq1f1b::simt

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32,
              seq1f1b::simt::Where where = seq1f1b::simt::Where::current()) {
  const unsigned w = seq1f1b::simt::shuffle_width(width, where);
  const unsigned lane = seq1f1b::simt::current_thread().lane();
  return seq1f1b::simt::shuffle("__shfl_sync", mask, value,
                                (lane & ~(w - 1)) | (static_cast<unsigned>(source) & (w - 1)),
                                where);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                 seq1f1b::simt::Where where = seq1f1b::simt::Where::current()) {
  const unsigned w = seq1f1b::simt::shuffle_width(width, where);
  const unsigned lane = seq1f1b::simt::current_thread().lane();
  return seq1f1b::simt::shuffle("__shfl_up_sync", mask, value,
                                (lane & (w - 1)) < delta ? lane : lane - delta, where);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                   seq1f1b::simt::Where where = seq1f1b::simt::Where::current()) {
  const unsigned w = seq1f1b::simt::shuffle_width(width, where);
  const unsigned lane = seq1f1b::simt::current_thread().lane();
  return seq1f1b::simt::shuffle("__shfl_down_sync", mask, value,
                                (lane & (w - 1)) + delta >= w ? lane : lane + delta, where);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32,
                  seq1f1b::simt::Where where = seq1f1b::simt::Where::current()) {
  const unsigned w = seq1f1b::simt::shuffle_width(width, where);
  const unsigned lane = seq1f1b::simt::current_thread().lane();
  const unsigned source = lane ^ static_cast<unsigned>(lane_mask);
  return seq1f1b::simt::shuffle("__shfl_xor_sync", mask, value,
                                source > (lane | (w - 1)) ? lane : source, where);
}

inline unsigned __ballot_sync(unsigned mask, int predicate,
                              seq1f1b::simt::Where where = seq1f1b::simt::Where::current()) {
  return seq1f1b::simt::ballot("__ballot_sync", mask, predicate != 0, where);
}
inline int __any_sync(unsigned mask, int predicate,
                      seq1f1b::simt::Where where = seq1f1b::simt::Where::current()) {
  return seq1f1b::simt::ballot("__any_sync", mask, predicate != 0, where) != 0;
}
inline int __all_sync(unsigned mask, int predicate,
                      seq1f1b::simt::Where where = seq1f1b::simt::Where::current()) {
  return seq1f1b::simt::ballot("__all_sync", mask, predicate == 0, where) == 0;
}
inline void __syncwarp(unsigned mask = 0xffffffffu,
                       seq1f1b::simt::Where where = seq1f1b::simt::Where::current()) {
  seq1f1b::simt::ballot("__syncwarp", mask, false, where);
}
template <class T>
unsigned __match_any_sync(unsigned mask, T value,
                          seq1f1b::simt::Where where = seq1f1b::simt::Where::current()) {
  seq1f1b::simt::Match<T> call{value, 0};
  seq1f1b::simt::current_block().meet_warp("__match_any_sync", mask, &call,
                                           &seq1f1b::simt::complete_match<T>, where);
  return call.result;
}
template <class T>
T __reduce_add_sync(unsigned mask, T value,
                    seq1f1b::simt::Where where = seq1f1b::simt::Where::current()) {
  return seq1f1b::simt::reduce<T, seq1f1b::simt::Sum>("__reduce_add_sync", mask, value, where);
}
template <class T>
T __reduce_min_sync(unsigned mask, T value,
                    seq1f1b::simt::Where where = seq1f1b::simt::Where::current()) {
  return seq1f1b::simt::reduce<T, seq1f1b::simt::Least>("__reduce_min_sync", mask, value, where);
}
template <class T>
T __reduce_max_sync(unsigned mask, T value,
                    seq1f1b::simt::Where where = seq1f1b::simt::Where::current()) {
  return seq1f1b::simt::reduce<T, seq1f1b::simt::Greatest>("__reduce_max_sync", mask, value, where);
}
template <class T>
T __reduce_or_sync(unsigned mask, T value,
                   seq1f1b::simt::Where where = seq1f1b::simt::Where::current()) {
  return seq1f1b::simt::reduce<T, seq1f1b::simt::Either>("__reduce_or_sync", mask, value, where);
}

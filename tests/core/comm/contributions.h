#pragma once
// Values to add up over ranks.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace seq1f1b::comm::testing {

// Values whose sum depends on the order of addition: of both signs and many magnitudes. From a
// linear congruential generator (Knuth's MMIX): bodies draw many millions.
template <class Real>
std::vector<Real> contribution(int rank, std::size_t count) {
  static const std::vector<Real> powers = [] {
    std::vector<Real> table;
    for (int exponent = -43; exponent < -3; ++exponent)
      table.push_back(std::ldexp(Real(1), exponent));
    return table;
  }();
  std::uint64_t state = static_cast<std::uint64_t>(rank) * 977 + count;
  std::vector<Real> values(count);
  for (Real& value : values) {
    state = state * 6364136223846793005U + 1442695040888963407U;
    const auto bits = static_cast<std::uint32_t>(state >> 32);
    const auto digits = static_cast<std::int32_t>(bits >> 8) - (1 << 23);
    value = static_cast<Real>(digits) * powers[bits % powers.size()];
  }
  return values;
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() &&
         (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

}  // namespace seq1f1b::comm::testing

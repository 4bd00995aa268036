#pragma once
// A set of the values of a small enumeration whose values count up from 0.
#include <cstdint>
#include <initializer_list>

namespace seq1f1b::schedule {

template <class Enum>
class EnumSet {
 public:
  constexpr EnumSet() = default;
  constexpr EnumSet(std::initializer_list<Enum> values) {
    for (const Enum value : values) bits_ |= bit(value);
  }
  constexpr bool has(Enum value) const { return (bits_ & bit(value)) != 0; }
  constexpr bool includes(EnumSet other) const { return (other.bits_ & ~bits_) == 0; }
  constexpr bool meets(EnumSet other) const { return (other.bits_ & bits_) != 0; }
  constexpr void insert(Enum value) { bits_ |= bit(value); }
  friend constexpr bool operator==(EnumSet, EnumSet) = default;

 private:
  static constexpr std::uint32_t bit(Enum value) {
    return std::uint32_t{1} << static_cast<unsigned>(value);
  }
  std::uint32_t bits_ = 0;
};

}  // namespace seq1f1b::schedule

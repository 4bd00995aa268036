#pragma once
// Philox4x32-10, a counter-based generator: the value at (key, counter) depends on nothing else, so
// initialisation, shuffling and sampling draw the same numbers under every layout.
// Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <string_view>

namespace seq1f1b::kernels {

inline std::array<std::uint32_t, 4> philox(std::uint64_t key, std::uint64_t counter_low,
                                           std::uint64_t counter_high = 0) {
  std::array<std::uint32_t, 4> c{static_cast<std::uint32_t>(counter_low),
                                 static_cast<std::uint32_t>(counter_low >> 32),
                                 static_cast<std::uint32_t>(counter_high),
                                 static_cast<std::uint32_t>(counter_high >> 32)};
  auto k0 = static_cast<std::uint32_t>(key);
  auto k1 = static_cast<std::uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * c[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * c[2];
    c = {static_cast<std::uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<std::uint32_t>(p1),
         static_cast<std::uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<std::uint32_t>(p0)};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

// In (0, 1), never 0 or 1.
inline double philox_uniform(std::uint32_t bits) { return (bits + 0.5) * 0x1p-32; }

// Standard normal by Box-Muller from the pair of draws at `counter`.
inline double philox_normal(std::uint64_t key, std::uint64_t counter) {
  const auto bits = philox(key, counter);
  return std::sqrt(-2.0 * std::log(philox_uniform(bits[0]))) *
         std::cos(2.0 * std::numbers::pi * philox_uniform(bits[1]));
}

// 64-bit FNV-1a: turns a name into part of a key. Not for integrity.
constexpr std::uint64_t name_key(std::string_view name, std::uint64_t seed = 0) {
  std::uint64_t hash = 0xcbf29ce484222325u ^ (seed * 0x9E3779B97F4A7C15u);
  for (char character : name) {
    hash ^= static_cast<unsigned char>(character);
    hash *= 0x100000001b3u;
  }
  return hash;
}

}  // namespace seq1f1b::kernels

#pragma once
// Orders drawn from a key. Both use Philox as their only source of chance, so every rank, layout
// and machine draws the same.
#include <cstdint>
#include <span>

namespace seq1f1b::data {

// Fisher-Yates from the last element down: element i changes places with one of 0..i, chosen by the
// draw at counter i.
void shuffle(std::span<std::int64_t> values, std::uint64_t key);

// Where `index` of 0..size-1 goes under the permutation (key, epoch), without storing it: a Feistel
// network of 8 rounds over the least even number of bits that holds `size`, applied again while the
// result is >= size ("cycle walking"; Black and Rogaway, "Ciphers with arbitrary finite domains",
// CT-RSA 2002). Expected applications: below 4.
std::int64_t permute(std::int64_t index, std::int64_t size, std::uint64_t key, std::uint64_t epoch);

}  // namespace seq1f1b::data

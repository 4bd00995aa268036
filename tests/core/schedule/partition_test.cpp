#include "core/schedule/partition.h"

#include <limits>
#include <numeric>

#include "kernels/common/errors.h"
#include "tests/catch.h"

using namespace seq1f1b;
using namespace seq1f1b::schedule;

namespace {

using Lengths = std::vector<std::int64_t>;

const SegmentCost kGpt2p7b = authors_cost(32, 2560, 32, 80, 4 * 2560, 50304);
const SegmentCost kGpt30b = authors_cost(64, 6144, 64, 96, 4 * 6144, 51200);

}  // namespace

TEST_CASE("the splits of METHOD section 4, exactly") {
  CHECK(partition_flops(16384, 4, 1, kGpt2p7b) == Lengths{5271, 4232, 3639, 3242});
  CHECK(partition_flops(32768, 4, 1, kGpt2p7b) == Lengths{11944, 8268, 6731, 5825});
  CHECK(partition_flops(65536, 4, 8, kGpt30b) == Lengths{23424, 16624, 13640, 11848});
}

TEST_CASE("segments of equal cost cost the same, up to a token") {
  for (const int segments : {2, 3, 7, 16}) {
    const std::int64_t n = 32768;
    const Lengths lengths = partition_flops(n, segments, 1, kGpt2p7b);
    const double share = kGpt2p7b(n, n) / segments;
    double end = n;
    for (std::size_t i = lengths.size() - 1; i > 0; --i) {
      const auto length = static_cast<double>(lengths[i]);
      CHECK(kGpt2p7b(length, end) <= share * (1 + 1e-9));
      CHECK(kGpt2p7b(length + 1, end) > share);
      end -= length;
    }
  }
}

TEST_CASE("all partitions cover the sequence and keep the alignment") {
  for (const std::int64_t tokens : {1000, 4096, 30001})
    for (const int segments : {1, 2, 3, 8})
      for (const int alignment : {1, 8, 64})
        for (const Lengths& lengths : {partition_even(tokens, segments, alignment),
                                       partition_flops(tokens, segments, alignment, kGpt2p7b)}) {
          CHECK(std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0}) == tokens);
          CHECK(check_lengths(lengths, tokens, segments, alignment) == lengths);
        }
}

TEST_CASE("even segments are as even as the alignment allows") {
  CHECK(partition_even(4096, 4, 64) == Lengths{1024, 1024, 1024, 1024});
  CHECK(partition_even(100, 3, 1) == Lengths{34, 33, 33});
  CHECK(partition_even(1000, 4, 64) == Lengths{232, 256, 256, 256});
  CHECK(partition_even(5, 1, 64) == Lengths{5});
}

TEST_CASE("without attention the flops partition is even") {
  CHECK(partition_flops(4096, 4, 1, {.attention = 0, .linear = 1}) ==
        Lengths{1024, 1024, 1024, 1024});
}

TEST_CASE("too many segments of equal cost are refused with what would do") {
  const auto message = [](std::int64_t tokens, int segments, int alignment) {
    try {
      partition_flops(tokens, segments, alignment, kGpt2p7b);
    } catch (const ConfigError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  for (const auto& [tokens, segments, alignment] :
       {std::tuple{7, 7, 1}, std::tuple{256, 4, 64}, std::tuple{193, 4, 64}}) {
    INFO(tokens << " tokens");
    CHECK(message(tokens, segments, alignment).find("or set schedule.partition: even") !=
          std::string::npos);
    CHECK_NOTHROW(partition_even(tokens, segments, alignment));
  }
  const std::string hopeless = message(192, 4, 64);
  CHECK(hopeless.find("one would be empty") != std::string::npos);
  CHECK(hopeless.find("even") == std::string::npos);
  CHECK_THROWS_AS(partition_even(192, 4, 64), ConfigError);
}

TEST_CASE("what cannot be cut is refused") {
  CHECK_THROWS_AS(partition_even(3, 4, 1), ConfigError);
  CHECK_THROWS_AS(partition_even(256, 8, 64), ConfigError);
  CHECK_THROWS_AS(partition_flops(256, 4, 64, kGpt2p7b), ConfigError);
  CHECK_THROWS_AS(partition_even(0, 1, 1), ConfigError);
  CHECK_THROWS_AS(partition_even(16, 0, 1), ConfigError);
  CHECK_THROWS_AS(partition_even(16, 1, 0), ConfigError);

  CHECK_NOTHROW(check_lengths(Lengths{5, 8, 3}, 16, 3, 1));
  CHECK_NOTHROW(check_lengths(Lengths{5, 8, 8}, 21, 3, 8));
  CHECK_THROWS_AS(check_lengths(Lengths{8, 5, 8}, 21, 3, 8), ConfigError);
  CHECK_THROWS_AS(check_lengths(Lengths{8, 8}, 16, 3, 8), ConfigError);
  CHECK_THROWS_AS(check_lengths(Lengths{8, 8, 8}, 16, 3, 8), ConfigError);
  CHECK_THROWS_AS(check_lengths(Lengths{4, 8}, 16, 2, 8), ConfigError);
  // A sum that would wrap around to the right one.
  constexpr std::int64_t kHuge = std::numeric_limits<std::int64_t>::max();
  CHECK_THROWS_AS(check_lengths(Lengths{kHuge, kHuge, 18}, 16, 3, 1), ConfigError);
  CHECK_THROWS_AS(check_lengths(Lengths{16, 8, -8}, 16, 3, 8), ConfigError);
  CHECK_THROWS_AS(check_lengths(Lengths{8, 8, 0}, 16, 3, 8), ConfigError);
}

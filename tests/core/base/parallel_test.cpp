// Every index once, whatever the number of threads, and failures that come out.
#include <atomic>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/base/parallel.h"
#include "tests/catch.h"

namespace seq1f1b::base {

TEST_CASE("pieces cover every index once", "[parallel]") {
  for (const int threads : {-1, 0, 1, 2, 3, 7, 64})
    for (const std::int64_t count : {0, 1, 2, 5, 63, 64, 1000}) {
      std::vector<std::atomic<int>> visits(static_cast<std::size_t>(count));
      parallel_ranges(threads, count, 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin; i < end; ++i) ++visits[static_cast<std::size_t>(i)];
      });
      for (const auto& visit : visits) CHECK(visit == 1);
    }
}

TEST_CASE("small work stays on the caller's thread, large work does not", "[parallel]") {
  const auto pieces = [](std::int64_t count, std::int64_t smallest) {
    std::atomic<int> calls = 0, elsewhere = 0;
    parallel_ranges(4, count, smallest,
                    [&, caller = std::this_thread::get_id()](std::int64_t begin, std::int64_t end) {
                      ++calls;
                      if (std::this_thread::get_id() != caller) ++elsewhere;
                      CHECK((end - begin >= smallest || end - begin == count));
                    });
    CHECK(elsewhere == calls - 1);
    return calls.load();
  };
  CHECK(pieces(99, 100) == 1);
  CHECK(pieces(199, 100) == 1);
  CHECK(pieces(200, 100) == 2);
  CHECK(pieces(100000, 100) == 4);
}

TEST_CASE("the first failure of a piece is thrown when all have ended", "[parallel]") {
  std::atomic<int> ended = 0;
  const auto failing = [&] {
    parallel_ranges(4, 4, 1, [&](std::int64_t begin, std::int64_t) {
      ++ended;
      if (begin > 0) throw std::runtime_error(std::to_string(begin));
    });
  };
  CHECK_THROWS_WITH(failing(), "1");
  CHECK(ended == 4);
}

}  // namespace seq1f1b::base

// Every schedule over a wide range of sizes passes the validator with the fewest buffers.
#include "core/schedule/schedule.h"
#include "tests/catch.h"
#include "tests/core/schedule/hand_made.h"

using namespace seq1f1b::schedule;

namespace {

constexpr int kMostRanks = 16, kMostSegments = 16, kMostMicroBatches = 64;

int first_invalid_segments(const std::string& name, int ranks, int segments) {
  for (int micro_batches = 1; micro_batches <= kMostMicroBatches; ++micro_batches)
    if (!validate(make_schedule({name, ranks, 1, micro_batches, segments})).empty())
      return micro_batches;
  return 0;
}

}  // namespace

TEST_CASE("every schedule for P, k <= 16 and M <= 64 is proved") {
  for (const std::string& name : schedule_names())
    for (int ranks = 1; ranks <= kMostRanks; ++ranks)
      for (int segments = 1; segments <= kMostSegments; ++segments) {
        if (segments > 1 && (name == "gpipe" || name == "1f1b")) break;
        INFO(name << ", P = " << ranks << ", k = " << segments);
        CHECK(first_invalid_segments(name, ranks, segments) == 0);
      }
}

TEST_CASE("split backwards are proved as well") {
  for (const int ranks : {1, 2, 4, 7, 16})
    for (const int segments : {1, 2, 5, 16})
      for (const int micro_batches : {1, 2, 8, 33}) {
        INFO("P = " << ranks << ", k = " << segments << ", M = " << micro_batches);
        const std::vector<Violation> violations =
            validate(zero_bubble(ranks, micro_batches, segments));
        CHECK(violations.empty());
      }
}

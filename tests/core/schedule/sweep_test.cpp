// Every schedule over a wide range of sizes passes the validator with the fewest buffers.
#include "core/schedule/catalogue.h"
#include "core/schedule/validate.h"
#include "tests/catch.h"
#include "tests/core/schedule/hand_made.h"

using namespace seq1f1b::schedule;

namespace {

constexpr int kMostRanks = 16, kMostSegments = 16, kMostMicroBatches = 64;

int first_invalid_segments(const CatalogueEntry& entry, int ranks, int segments, int step) {
  for (int micro_batches = 1; micro_batches <= kMostMicroBatches; micro_batches += step)
    if (!validate(make_schedule(legal_spec(entry, ranks, micro_batches, segments))).empty())
      return micro_batches;
  return 0;
}

}  // namespace

TEST_CASE("every schedule for P, k <= 16 and M <= 64 is proved") {
  for (const CatalogueEntry& entry : catalogue()) {
    // Those that were added later are swept more coarsely: the time of the suite.
    const bool coarse = entry.least_chunks > 1 || entry.features.has(Feature::kSplitBackward);
    for (int ranks = 1; ranks <= kMostRanks; ranks += coarse ? 5 : 1)
      for (int segments = 1; segments <= kMostSegments; segments += coarse ? 3 : 1) {
        if (segments > 1 && !entry.splits_sequences()) break;
        INFO(entry.name << ", P = " << ranks << ", k = " << segments);
        CHECK(first_invalid_segments(entry, ranks, segments, coarse ? 9 : 1) == 0);
      }
  }
}

TEST_CASE("interleaving is proved with three and four chunks as well") {
  for (const int chunks : {3, 4})
    for (const int ranks : {1, 2, 3, 5, 8})
      for (const int segments : {1, 2, 3, 4, 8})
        for (int groups = 1; groups <= 3; ++groups) {
          INFO("v = " << chunks << ", P = " << ranks << ", k = " << segments);
          const int micro_batches = groups * ((ranks + segments - 1) / segments);
          const auto violations =
              validate(make_schedule({"seq1f1b-i", ranks, chunks, micro_batches, segments}));
          CHECK(violations.empty());
        }
}

// The names of schedules and which of them have segments are told by core/config, below, and by
// core/schedule, above, which generates them.
#include "core/config/schedule_names.h"

#include <algorithm>

#include "core/schedule/schedule.h"
#include "kernels/common/errors.h"
#include "tests/catch.h"

using namespace seq1f1b;

TEST_CASE("a configuration can name every schedule that trains, and no other", "[runtime]") {
  std::vector<std::string> generated = schedule::schedule_names();
  std::erase(generated, "forward_only");
  std::vector<std::string> named = config::schedule_names();
  std::ranges::sort(generated);
  std::ranges::sort(named);
  CHECK(named == generated);
}

TEST_CASE("a configuration knows which schedules have segments", "[runtime]") {
  for (const config::ScheduleName& row : config::kScheduleNames) {
    INFO(row.name);
    const schedule::Spec spec{
        .name = row.name, .ranks = 2, .chunks = 1, .micro_batches = 2, .segments = 2};
    if (config::name_with_segments(row.name).empty()) {
      CHECK(schedule::make_schedule(spec).spec.segments == 2);
      continue;
    }
    std::string refusal;
    try {
      schedule::make_schedule(spec);
    } catch (const ConfigError& error) {
      refusal = error.what();
    }
    CHECK(refusal.ends_with(concat("schedule.name to ", row.with_segments)));
  }
}

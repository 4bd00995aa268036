#pragma once
// The schedules that a configuration may name. Their orders are made in core/schedule, which is
// above this folder; a test of both (tests/core/runtime/schedule_names_test.cpp) holds the two
// together.
#include <algorithm>
#include <iterator>
#include <string>
#include <vector>

namespace seq1f1b::config {

struct ScheduleName {
  const char* name;
  const char* with_segments;  // what it is called with more than one segment; itself where it can
};
inline constexpr ScheduleName kScheduleNames[] = {
    {"gpipe", "terapipe"},
    {"1f1b", "seq1f1b"},
    {"terapipe", "terapipe"},
    {"seq1f1b", "seq1f1b"},
};

inline std::vector<std::string> schedule_names() {
  std::vector<std::string> names;
  for (const ScheduleName& row : kScheduleNames) names.emplace_back(row.name);
  return names;
}

// Empty where the schedule has segments itself, or is unknown.
inline std::string name_with_segments(const std::string& schedule) {
  const auto* const row = std::ranges::find_if(
      kScheduleNames, [&](const ScheduleName& candidate) { return candidate.name == schedule; });
  return row == std::end(kScheduleNames) || row->with_segments == schedule ? ""
                                                                           : row->with_segments;
}

}  // namespace seq1f1b::config

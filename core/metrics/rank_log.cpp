#include <array>
#include <cstdio>

#include "core/base/clock.h"
#include "core/metrics/metrics.h"

namespace seq1f1b::metrics {

RankLog::RankLog(const std::string& path, bool append)
    : out_(path, append), start_(base::monotonic_seconds()) {
  line(base::utc_text());
}

void RankLog::line(const std::string& text) {
  std::array<char, 32> time{};
  std::snprintf(time.data(), time.size(), "[%10.3f] ", base::monotonic_seconds() - start_);
  // A message of several lines stays together, every line with its time.
  std::string lines = time.data();
  for (char character : text) {
    lines += character;
    if (character == '\n') lines += time.data();
  }
  out_.write(lines);
}

}  // namespace seq1f1b::metrics

#include "core/base/cores.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <set>

#include "kernels/common/errors.h"

namespace seq1f1b::base {
namespace {

struct Parsed {
  std::string host;
  std::set<int> cores;
};

// The inverse of core_set().
Parsed parse(const std::string& text) {
  const std::size_t space = text.rfind(' ');
  SEQ1F1B_ASSERT(space != std::string::npos, "not a set of cores: ", text);
  Parsed parsed{text.substr(0, space), {}};
  const char* at = text.data() + space + 1;
  const char* end = text.data() + text.size();
  while (at < end) {
    int first = 0, last = 0;
    auto read = std::from_chars(at, end, first);
    last = first;
    if (read.ptr < end && *read.ptr == '-') read = std::from_chars(read.ptr + 1, end, last);
    SEQ1F1B_ASSERT(read.ec == std::errc(), "not a set of cores: ", text);
    for (int core = first; core <= last; ++core) parsed.cores.insert(core);
    at = read.ptr + 1;  // behind the comma
  }
  return parsed;
}

bool share_one(const Parsed& a, const Parsed& b) {
  return a.host == b.host && std::ranges::any_of(a.cores, [&](int core) {
           return b.cores.contains(core);
         });
}

}  // namespace

int available_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

std::string core_set() {
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) host[0] = '\0';
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) != 0) CPU_SET(0, &set);
  std::string ranges;
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (!CPU_ISSET(core, &set)) continue;
    const int first = core;
    while (core + 1 < CPU_SETSIZE && CPU_ISSET(core + 1, &set)) ++core;
    ranges += concat(ranges.empty() ? "" : ",", first);
    if (core > first) ranges += concat("-", core);
  }
  return concat(host.data(), " ", ranges);
}

std::vector<CoreShare> share_cores(std::span<const std::string> core_sets) {
  std::vector<Parsed> all;
  for (const std::string& text : core_sets) all.push_back(parse(text));
  std::vector<CoreShare> shares;
  for (const Parsed& own : all) {
    const auto processes =
        std::ranges::count_if(all, [&](const Parsed& other) { return share_one(own, other); });
    shares.push_back({.cores = std::max(1, static_cast<int>(own.cores.size())),
                      .processes = std::max(1, static_cast<int>(processes))});
  }
  return shares;
}

}  // namespace seq1f1b::base

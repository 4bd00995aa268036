#pragma once
// Work on ranges of indices by several threads, for host work that no kernel does.
#include <cstdint>
#include <functional>

namespace seq1f1b::base {

// Calls body(begin, end) for pieces that cover [0, count) once, on at most `threads` threads, the
// caller's among them; returns when all are done. A piece has at least `smallest` indices unless it
// is the only one. The first exception of a piece, by position, is thrown when all have ended.
void parallel_ranges(int threads, std::int64_t count, std::int64_t smallest,
                     const std::function<void(std::int64_t begin, std::int64_t end)>& body);

}  // namespace seq1f1b::base

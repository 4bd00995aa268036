#pragma once
// A schedule as JSON for tools outside this program.
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "core/schedule/schedule.h"

namespace seq1f1b::schedule {

// One object, all indices 0-based, for the pipeline ranks of one replica: ranks, stages, chunks
// (per rank), micro_batches, segments, segment_lengths [tokens], split_backward, placement
// [rank][chunk]
// -> stage, orders [rank][index] -> ["F"|"B"|"W", chunk, micro_batch, segment], planned_bytes
// [rank].
std::string to_json(const Schedule& schedule, std::span<const std::int64_t> segment_lengths,
                    std::span<const std::size_t> planned_bytes);

}  // namespace seq1f1b::schedule

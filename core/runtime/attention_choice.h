#pragma once
// runtime.attention: auto. For every pair of lengths of a job the faster of two implementations of
// attention, the device's own and a library's, timed before the first action. The choice decides
// about bits, so rank 0 decides for all, and the choice is part of a run: saved and reused on
// resume.
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/comm/group.h"
#include "core/plan/job_plan.h"
#include "kernels/device.h"
#include "kernels/ops.h"

namespace seq1f1b::runtime {

// What holds for one segment of a micro-batch: `tokens` queries over `keys` keys.
struct AttentionLength {
  std::int64_t tokens = 0, keys = 0;
  kernels::AttentionProvider provider = kernels::AttentionProvider::kOwn;
  // Forward and backward of one layer, medians on rank 0's device; 0: not timed, as nothing was to
  // be chosen.
  double own_seconds = 0, library_seconds = 0;
  std::string refusal;  // why the library is no choice: "rank 1: ..."; empty: it is
  bool operator==(const AttentionLength&) const = default;
};

struct AttentionChoice {
  // What the choice holds for, beside the lengths: one made in other circumstances is not reused.
  struct Circumstances {
    std::string device;  // rank 0's
    std::string compute_dtype;
    bool deterministic = true;
    std::int64_t micro_batch_size = 0;
    bool operator==(const Circumstances&) const = default;
  };
  Circumstances circumstances;
  std::vector<AttentionLength> lengths;  // in the order of the segments
  bool operator==(const AttentionChoice&) const = default;
};

// Nothing chosen: the lengths and circumstances of a job, `device` being rank 0's description.
AttentionChoice attention_of(const plan::JobPlan& job, const std::string& device);
// A sentence about what keeps `stored` from being used for a job that asks `wanted`; empty:
// nothing.
std::string attention_differences(const AttentionChoice& stored, const AttentionChoice& wanted);
// "attention: cuDNN for 2 of 4 lengths (own 1.2 ms, cuDNN 0.9 ms in all)" and the like, for people.
std::string attention_summary(const AttentionChoice& choice);

// Chooses for every length, on all ranks alike, and tells backend.ops. `stored`: of the checkpoint
// that is resumed; it is used as it is where it fits (`notes` gets why not), but for lengths that
// some rank's library refuses. `idle`: device memory for one layer's attention, overwritten.
// `reserved_bytes`: of device memory that a library must leave free. Collective over `all`; before
// the device's first captured graph.
AttentionChoice choose_attention(const plan::JobPlan& job, kernels::Backend& backend,
                                 comm::Group& all, std::span<std::byte> idle,
                                 std::size_t reserved_bytes,
                                 const std::optional<AttentionChoice>& stored,
                                 std::vector<std::string>& notes);

}  // namespace seq1f1b::runtime

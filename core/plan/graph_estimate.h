#pragma once
// Memory that a device needs for captured graphs, before anything was measured.
#include <cstddef>

#include "core/plan/job_plan.h"
#include "core/schedule/memory_plan.h"

namespace seq1f1b::plan {

// Launches of one action on CUDA, counted in the kernels of kernels/cuda; within a third of the
// truth.
std::size_t estimated_launches(const JobPlan& job, int stage, const schedule::Action& action,
                               schedule::FeatureSet features);

// Bytes of the captured graphs of one pipeline rank: training and evaluation. An estimate on an
// assumption, kBytesPerLaunch, which no GPU has confirmed yet; a run logs what they really take.
std::size_t estimated_graph_bytes(const JobPlan& job, int pipeline_rank,
                                  const schedule::MemoryPlan& training,
                                  const schedule::MemoryPlan& evaluation);

// Twice what CUDA guarantees for the arguments of a kernel (4 KiB; CUDA C++ Programming Guide,
// "__global__ Function Parameters"), for the node and for its place in the graph.
inline constexpr std::size_t kBytesPerLaunch = 8192;

}  // namespace seq1f1b::plan

#pragma once
// Between a rank's parameters and checkpoint files: one file per layer, whole tensors under
// canonical names, moments beside them as NAME.exp_avg and NAME.exp_avg_sq where the store has any.
// Where weights are
// rounded copies of masters, the masters are the parameters that a checkpoint holds.
#include "core/checkpoint/directory.h"
#include "core/parameters/store.h"
#include "kernels/device.h"
#include "kernels/ops.h"

namespace seq1f1b::checkpoint {

inline constexpr const char* kFirstMoment = ".exp_avg";
inline constexpr const char* kSecondMoment = ".exp_avg_sq";

// Writes the files of this rank (files_to_save), one after the other through one snapshot: host
// memory for the largest.
void save_parameters(Writer& writer, const parameters::Store& store, kernels::Device& device,
                     const parameters::Replica& replica = {});

// Loads every row of the store (replicas too), rounds masters into weights, and loads the moments
// when the store is for training; nothing else is read. A checkpoint in another floating-point type
// is converted. Throws DataError for a missing tensor, for one that is damaged, has another
// shape or holds what is not finite, and for a checkpoint without moments where they are needed.
void load_parameters(Reader& reader, const parameters::Store& store, kernels::Device& device,
                     kernels::Ops& ops);

}  // namespace seq1f1b::checkpoint

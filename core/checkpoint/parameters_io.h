#pragma once
// Between a rank's parameters and checkpoint files: one file per layer, whole tensors under canonical
// names, moments beside them as NAME.exp_avg and NAME.exp_avg_sq.
#include "core/checkpoint/directory.h"
#include "core/parameters/store.h"
#include "kernels/device.h"

namespace seq1f1b::checkpoint {

// Writes the files whose rows this rank owns, one after the other through one host buffer.
void save_parameters(Writer& writer, const parameters::Store& store, kernels::Device& device);

// Loads every row of the store (replicas too), and the moments when it is for training. A checkpoint
// in another floating-point type is converted. Throws DataError for a missing tensor or a shape that
// differs.
void load_parameters(Reader& reader, const parameters::Store& store, kernels::Device& device);

}  // namespace seq1f1b::checkpoint

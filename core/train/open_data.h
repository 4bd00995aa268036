#pragma once
// The data of a run, opened where it is read, known to all.
#include <memory>

#include "core/comm/group.h"
#include "core/config/config.h"
#include "core/train/run_directory.h"
#include "core/train/run_state.h"
#include "core/train/samples.h"

namespace seq1f1b::train {

// Opens the data where `reads`; null elsewhere. Notes in the state what it is, and shows its sizes.
// `tokenizer` is what was found for it before (null: none), and is still. Where it is other data
// than that of the checkpoint, data.on_change says what happens: the state takes the change, or a
// refusal. Throws an AgreedError, with kExitMismatch where ranks see different data. Collective.
std::unique_ptr<Samples> open_data(const config::Config& config, const data::Tokenizer* tokenizer,
                                   bool reads, comm::Group& all, RunState& state,
                                   RunDirectory& directory);

}  // namespace seq1f1b::train

#pragma once
// Where a run stands, from one checkpoint to the next: found at the start, saved on the way.
#include <cstdint>
#include <optional>
#include <string>

#include "core/comm/channel.h"
#include "core/config/config.h"
#include "core/data/tokenizer.h"
#include "core/parameters/store.h"
#include "core/runtime/attention_choice.h"
#include "core/train/evaluation.h"
#include "core/train/run_directory.h"
#include "kernels/device.h"

namespace seq1f1b::train {

// All that a checkpoint holds beside the parameters.
struct RunState {
  std::int64_t step = 0;  // optimizer steps done
  std::int64_t consumed_samples = 0;
  std::optional<Evaluation> evaluation;               // the last one
  std::optional<runtime::AttentionChoice> attention;  // of runtime.attention: auto
  std::string checkpoint;  // where it was read from or saved to last; empty: nowhere
};

// The state to go on from: that of the checkpoint which checkpoint.resume asks for, or of a run
// that begins. Throws an AgreedError where the checkpoint cannot be read or belongs to another
// model, split of the documents or tokenizer (null: none). Collective.
RunState find_state(const config::Config& config, const data::Tokenizer* tokenizer,
                    comm::Group& all, RunDirectory& directory);

// The parameters of the state: its checkpoint's, or the initial ones, drawn on `threads`.
// Collective.
void load_parameters(const RunState& state, const config::Config& config,
                     const parameters::Store& store, kernels::Backend& backend, int threads,
                     comm::Group& all);

// Saves a checkpoint, and notes in the state where. Throws an AgreedError. Collective.
void save(RunState& state, const config::Config& config, const data::Tokenizer* tokenizer,
          const parameters::Store& store, kernels::Device& device, comm::Group& all,
          RunDirectory& directory);

}  // namespace seq1f1b::train

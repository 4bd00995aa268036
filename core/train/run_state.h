#pragma once
// Where a run stands, from one checkpoint to the next: found at the start, saved on the way.
#include <cstdint>
#include <optional>
#include <string>

#include "core/comm/group.h"
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
  std::int64_t step = 0;                 // optimizer steps done
  std::int64_t consumed_samples = 0;     // the number of the next one; from 0 again with other data
  std::int64_t consumed_tokens = 0;      // trained on so far, of whatever data
  std::int64_t course = 0;               // TrainingState::course, on rank 0
  std::optional<Evaluation> evaluation;  // the last one
  std::optional<runtime::AttentionChoice> attention;  // of runtime.attention: auto
  std::string checkpoint;   // where it was read from or saved to last; empty: nowhere
  std::string extra;        // of the checkpoint that it was read from; empty: none
  std::string data;         // data_json, from open_data() on; empty: not known
  std::string data_change;  // how the data differs from the checkpoint's, where that was accepted
};

// Other data than the checkpoint's, as `differences` says (empty: none): the samples begin anew,
// with data.on_change: restart. Else throws ConfigError.
void take_change(RunState& state, const config::Config& config, const std::string& differences);

// The state to go on from: that of the checkpoint which checkpoint.resume asks for, or of a run
// that begins. Throws an AgreedError where the checkpoint cannot be read or belongs to another
// model or tokenizer (null: none), or to another order of the samples that take_change() refuses;
// the files themselves are compared when they are opened. Collective.
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

#include "core/train/run_state.h"

#include <filesystem>

#include "core/base/clock.h"
#include "core/checkpoint/directory.h"
#include "core/checkpoint/folders.h"
#include "core/checkpoint/parameters_io.h"
#include "core/config/load.h"
#include "core/parameters/initialise.h"
#include "core/train/agreement.h"
#include "core/train/checkpoint_json.h"
#include "core/train/data_identity.h"
#include "kernels/common/errors.h"

namespace seq1f1b::train {
namespace {

// The name of the file in which a checkpoint keeps the tokenizer.
constexpr const char* kTokenizer = "tokenizer.json";

// Going on would be another run under the same name.
void require_same_run(const checkpoint::Reader& reader, const config::Config& config,
                      const data::Tokenizer* tokenizer) {
  const std::string& path = reader.path();
  const std::string differences = model_differences(reader.state().model_json, config);
  if (!differences.empty())
    throw ConfigError(concat(path, " holds another model: ", differences,
                             ". Use another checkpoint.directory, or checkpoint.resume: none"));
  if (!tokenizer && reader.has_attachment(kTokenizer))
    throw ConfigError(concat(path,
                             " was trained with a tokenizer, and this run has none: set "
                             "data.tokenizer: ",
                             path, "/", kTokenizer, ", or checkpoint.resume: none"));
  if (tokenizer && reader.has_attachment(kTokenizer) &&
      reader.attachment(kTokenizer) != tokenizer->to_json())
    throw ConfigError(concat(path,
                             " was trained with another tokenizer: the same numbers would be other "
                             "text. Prepare the data with ",
                             path, "/", kTokenizer, ", or set checkpoint.resume: none"));
}

// The course of a run that goes on from state.checkpoint, which holds `stored`. On rank 0, which
// writes it.
std::int64_t find_course(const RunState& state, std::int64_t stored, comm::Group& all,
                         const RunDirectory& directory) {
  std::int64_t course = 0;
  agree(all, "looking at earlier checkpoints", [&] {
    if (all.rank() != 0) return;
    if (state.checkpoint.empty()) {
      course = checkpoint::next_course(directory.path());
      return;
    }
    // Not what a link leads to: people move checkpoints and leave links.
    std::filesystem::path read = std::filesystem::absolute(state.checkpoint);
    if (!read.has_filename()) read = read.parent_path();  // "step_00000005/"
    std::error_code not_there;
    const bool goes_on = std::filesystem::equivalent(
        read.parent_path(), checkpoint::checkpoints_folder(directory.path()), not_there);
    course = goes_on ? stored : checkpoint::next_course(directory.path());
  });
  return course;
}

// Rank 0 looks, so that all ranks resume the same checkpoint. Empty: none.
std::string find_checkpoint(const config::Config& config, comm::Group& all,
                            RunDirectory& directory) {
  std::string path;
  const std::string& resume = config.checkpoint.resume;
  agree(all, "looking for a checkpoint", [&] {
    if (all.rank() != 0 || resume == "none") return;
    if (resume != "auto") {
      path = resume;
      return;
    }
    std::string notice;
    path = checkpoint::find_latest(directory.path(), &notice).value_or("");
    if (!notice.empty()) directory.show(notice);
  });
  all.broadcast(path, 0, [] { return "choosing the checkpoint"; });
  return path;
}

}  // namespace

void take_change(RunState& state, const config::Config& config, const std::string& differences) {
  if (differences.empty()) return;
  if (config.data.on_change != "restart")
    throw ConfigError(concat(
        state.checkpoint, " was trained on other samples: ", differences,
        ". Documents would move between training and validation, and samples be read twice or not "
        "at all: keep training.seed, data.split, training.seq_length and the files, or set "
        "data.on_change: restart, which goes on with the samples from 0, or checkpoint.resume: "
        "none"));
  state.data_change += concat(state.data_change.empty() ? "" : "; ", differences);
  state.consumed_samples = 0;
}

RunState find_state(const config::Config& config, const data::Tokenizer* tokenizer,
                    comm::Group& all, RunDirectory& directory) {
  RunState state;
  state.checkpoint = find_checkpoint(config, all, directory);
  if (state.checkpoint.empty()) {
    state.course = find_course(state, 0, all, directory);
    return state;
  }
  std::int64_t course = 0;
  agree(all, "opening the checkpoint", [&] {
    const checkpoint::Reader reader(state.checkpoint);
    const checkpoint::TrainingState& stored = reader.state();
    state.step = stored.step;
    state.consumed_samples = stored.consumed_samples;
    state.consumed_tokens = stored.consumed_tokens;
    course = stored.course;
    state.extra = stored.extra_json;
    require_same_run(reader, config, tokenizer);
    const std::int64_t tokens_per_sample =
        stored.consumed_samples > 0 ? stored.consumed_tokens / stored.consumed_samples : 0;
    try {
      state.evaluation = evaluation_of_extra(stored.extra_json);
      if (config.runtime.attention == "auto")
        state.attention = attention_of_extra(stored.extra_json);
      take_change(state, config, order_differences(stored.extra_json, tokens_per_sample, config));
    } catch (const DataError& error) {
      throw DataError(concat(state.checkpoint, ": ", error.what()));
    }
  });
  state.course = find_course(state, course, all, directory);
  return state;
}

void load_parameters(const RunState& state, const config::Config& config,
                     const parameters::Store& store, kernels::Backend& backend, int threads,
                     comm::Group& all) {
  agree(all, "loading the parameters", [&](comm::Watch& watch) {
    if (state.checkpoint.empty()) {
      parameters::initialise(store, config.training.seed, *backend.device, *backend.ops, threads);
      return;
    }
    checkpoint::Reader reader(state.checkpoint,
                              [&](std::string_view action, const std::string& path) {
                                watch.next(concat(action, " ", path));
                              });
    checkpoint::load_parameters(reader, store, *backend.device, *backend.ops);
  });
}

void save(RunState& state, const config::Config& config, const data::Tokenizer* tokenizer,
          const parameters::Store& store, kernels::Device& device, comm::Group& all,
          RunDirectory& directory) {
  const double start = base::monotonic_seconds();
  checkpoint::TrainingState stored;
  stored.step = state.step;
  stored.consumed_samples = state.consumed_samples;
  stored.consumed_tokens = state.consumed_tokens;
  stored.course = state.course;
  stored.model_json = model_json(config.model);
  stored.extra_json = extra_json(config, state.evaluation, state.attention, state.data);
  checkpoint::Attachments attachments;
  attachments["config.resolved.yaml"] = config::to_yaml(config);
  if (tokenizer) attachments[kTokenizer] = tokenizer->to_json();
  agree(all, "saving", [&] { directory.require_locked(); });
  try {
    checkpoint::Writer writer(directory.path(), state.step, all);
    checkpoint::save_parameters(writer, store, device);
    state.checkpoint = writer.commit(stored, attachments, config.checkpoint.keep_last,
                                     config.checkpoint.keep_every);
  } catch (const DataError& error) {  // the writer throws the same on all ranks
    throw AgreedError(error.code(), error.what());
  }
  directory.log(
      concat("saved ", state.checkpoint, " in ", base::monotonic_seconds() - start, " s"));
  directory.show(concat("step ", state.step, ": saved ", state.checkpoint));
}

}  // namespace seq1f1b::train

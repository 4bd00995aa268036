#include "core/train/open_data.h"

#include <cstdio>

#include "core/base/clock.h"
#include "core/base/text.h"
#include "core/train/agreement.h"
#include "core/train/data_identity.h"
#include "kernels/common/errors.h"

namespace seq1f1b::train {
namespace {

// People who wait longer for files to be read want to know for what.
constexpr double kSilentSeconds = 10;

std::string sizes(const data::Dataset& share) {
  return concat(share.documents(), " documents, ", share.tokens(), " tokens, ", share.windows(),
                " samples");
}

// What people want to know at the start: how much there is, and how often this run reads it.
std::string summary(const config::Config& config, const Samples& samples, const RunState& state) {
  const config::TrainingConfig& training = config.training;
  const std::int64_t end =
      state.consumed_samples + (training.train_iters - state.step) * training.global_batch_size;
  char epochs[32];
  std::snprintf(epochs, sizeof epochs, "%.2f",
                static_cast<double>(end) / static_cast<double>(samples.training().windows()));
  return concat("data: training ", sizes(samples.training()), " of ", training.seq_length,
                " per epoch, ", epochs, " epochs by step ", training.train_iters, "; validation ",
                sizes(samples.validation()));
}

// A preparation may have replaced all files of a corpus after its tokenizer was read: what was
// opened is then whole, but text of other numbers.
void require_unchanged(const config::DataConfig& data, const data::Tokenizer* tokenizer) {
  const auto now =
      data::find_tokenizer(data.tokenizer == "auto" ? "" : data.tokenizer, data.train).tokenizer;
  if (!now && !tokenizer) return;
  const std::string differs = now && tokenizer ? data::difference(*tokenizer, *now)
                                               : concat("there was ", tokenizer ? "one" : "none",
                                                        ", and is ", now ? "one" : "none");
  if (!differs.empty())
    throw DataError(concat("data.train: the tokenizer of ", base::join(data.train),
                           " was replaced while this run started (", differs,
                           "): start it again when the preparation of the data is done"));
}

// What a rank sees, by rank; empty where it reads nothing. The first that reads speaks for all.
std::string agreed_identity(const std::string& mine, comm::Group& all) {
  const auto seen = all.all_gather(mine, [] { return "comparing the data of the ranks"; });
  std::size_t first = seen.size();
  for (std::size_t rank = 0; rank < seen.size(); ++rank) {
    if (seen[rank].empty()) continue;
    if (first == seen.size()) first = rank;
    if (seen[rank] != seen[first])
      throw AgreedError(kExitMismatch,
                        concat("rank ", rank, " sees other data than rank ", first, ": ",
                               file_differences(seen[rank], seen[first], concat("on rank ", first)),
                               ". All ranks must read the same files, on a file system that they "
                               "share or from equal copies"));
  }
  return first == seen.size() ? "" : seen[first];
}

}  // namespace

std::unique_ptr<Samples> open_data(const config::Config& config, const data::Tokenizer* tokenizer,
                                   bool reads, comm::Group& all, RunState& state,
                                   RunDirectory& directory) {
  std::unique_ptr<Samples> samples;
  agree(all, "opening the data", [&](comm::Watch& watch) {
    if (!reads) return;
    double told = base::monotonic_seconds();
    samples = std::make_unique<Samples>(config, [&](const std::string& what) {
      watch.next(what);
      if (base::monotonic_seconds() - told < kSilentSeconds) return;
      directory.note(what);
      told = base::monotonic_seconds();
    });
    require_unchanged(config.data, tokenizer);
  });
  state.data = agreed_identity(samples ? data_json(config, samples->files()) : "", all);
  const std::string before = data_of_extra(state.extra);
  if (!state.checkpoint.empty() && before.empty())
    directory.note(
        "the checkpoint does not say on which files it was trained; these are taken for "
        "the same");
  try {
    take_change(state, config, file_differences(state.data, before, "in the checkpoint"));
  } catch (const ConfigError& error) {  // the same on all ranks
    throw AgreedError(error.code(), error.what());
  }
  if (samples) directory.note(summary(config, *samples, state));
  return samples;
}

}  // namespace seq1f1b::train

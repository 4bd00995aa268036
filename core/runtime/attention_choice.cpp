#include "core/runtime/attention_choice.h"

#include <algorithm>
#include <array>
#include <sstream>

#include "core/base/text.h"
#include "core/config/compute_dtype.h"
#include "core/runtime/attention_trial.h"
#include "kernels/common/errors.h"

namespace seq1f1b::runtime {
namespace {

using kernels::AttentionProvider;

// The median of five bears two that something else disturbed.
constexpr int kRepetitions = 5;

// What went wrong, where it is the library's affair; else nothing is caught.
template <class Step>
std::string refusal_of(const Step& step) {
  try {
    step();
  } catch (const InternalError&) {
    throw;
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

void choose(kernels::Backend& backend, const AttentionLength& length, AttentionProvider provider) {
  backend.ops->choose_attention(length.tokens, length.keys, provider);
}

// Prepares the library for a length; why it does not do it, the same on all ranks.
std::string agreed_refusal(AttentionTrial& trial, kernels::Backend& backend, comm::Group& all,
                           const AttentionLength& length, std::size_t reserved_bytes) {
  std::string mine = backend.ops->attention_library_refusal();
  if (mine.empty()) {
    const auto watch = all.watch(concat("preparing cuDNN for attention of ", length.tokens,
                                        " tokens over ", length.keys, " keys"));
    choose(backend, length, AttentionProvider::kLibrary);
    mine = refusal_of([&] { trial.prepare(reserved_bytes); });
  }
  const auto refusals = all.all_gather(mine, [&] {
    return concat("preparing attention of ", length.tokens, " tokens over ", length.keys, " keys");
  });
  for (std::size_t rank = 0; rank < refusals.size(); ++rank)
    if (!refusals[rank].empty()) return concat("rank ", rank, ": ", refusals[rank]);
  return "";
}

double median(std::array<double, kRepetitions> values) {
  std::ranges::sort(values);
  return values[kRepetitions / 2];
}

// Times both, in turns, so that a device that gets warm or busy is so for both. The library may
// refuse even now.
void measure(AttentionTrial& trial, kernels::Backend& backend, AttentionLength& length) {
  const std::array providers{AttentionProvider::kOwn, AttentionProvider::kLibrary};
  std::array<std::array<double, kRepetitions>, 2> seconds{};
  const auto run = [&](std::size_t which, const auto& step) {
    choose(backend, length, providers[which]);
    return step(std::uint64_t{which});
  };
  const auto first = [&](std::uint64_t name) {
    trial.run(name);
    backend.device->synchronize();
    trial.seconds(name);
  };
  trial.fill();
  run(0, first);
  length.refusal = refusal_of([&] { run(1, first); });
  if (!length.refusal.empty()) {
    length.refusal = "rank 0: " + length.refusal;
    return;
  }
  for (int repetition = 0; repetition < kRepetitions; ++repetition)
    for (std::size_t which = 0; which < providers.size(); ++which)
      seconds[which][static_cast<std::size_t>(repetition)] =
          run(which, [&](std::uint64_t name) { return trial.seconds(name); });
  length.own_seconds = median(seconds[0]);
  length.library_seconds = median(seconds[1]);
}

// Rank 0's times and refusal.
void take_from_rank_0(comm::Group& all, AttentionLength& length) {
  const auto what = [&] {
    return concat("timing attention of ", length.tokens, " tokens over ", length.keys,
                  " keys on rank 0");
  };
  all.broadcast(length.own_seconds, 0, what);
  all.broadcast(length.library_seconds, 0, what);
  all.broadcast(length.refusal, 0, what);
}

}  // namespace

AttentionChoice attention_of(const plan::JobPlan& job, const std::string& device) {
  AttentionChoice choice;
  choice.circumstances = {.device = device,
                          .compute_dtype = config::compute_dtype(job.config.runtime),
                          .deterministic = job.config.runtime.deterministic == "true",
                          .micro_batch_size = job.config.training.micro_batch_size};
  for (const model::SegmentShape& shape : job.units.bounds()) {
    AttentionLength length;
    length.tokens = shape.tokens;
    length.keys = shape.start + shape.tokens;
    choice.lengths.push_back(length);
  }
  return choice;
}

std::string attention_differences(const AttentionChoice& stored, const AttentionChoice& wanted) {
  std::vector<std::string> sentences;
  const auto compare = [&](const char* what, const auto& theirs, const auto& ours) {
    if (theirs != ours) sentences.push_back(concat(what, " ", theirs, ", not ", ours));
  };
  const auto& theirs = stored.circumstances;
  const auto& ours = wanted.circumstances;
  compare("on", theirs.device, ours.device);
  compare("in", theirs.compute_dtype, ours.compute_dtype);
  compare("for micro-batches of", theirs.micro_batch_size, ours.micro_batch_size);
  if (theirs.deterministic != ours.deterministic)
    sentences.push_back(theirs.deterministic ? "for sums in a fixed order, not in any"
                                             : "for sums in any order, not in a fixed one");
  const auto text = [](const AttentionChoice& choice) {
    std::string lengths;
    for (const AttentionLength& length : choice.lengths)
      lengths += concat(lengths.empty() ? "" : "+", length.tokens);
    return lengths;
  };
  compare("for segments of", text(stored), text(wanted));
  return base::join(sentences);
}

std::string attention_summary(const AttentionChoice& choice) {
  std::size_t library = 0;
  double own_seconds = 0, library_seconds = 0;
  std::string refusal;
  for (const AttentionLength& length : choice.lengths) {
    library += length.provider == AttentionProvider::kLibrary;
    own_seconds += length.own_seconds;
    library_seconds += length.library_seconds;
    if (refusal.empty()) refusal = length.refusal;
  }
  std::ostringstream text;
  text.precision(3);
  text << "cuDNN for " << library << " of " << choice.lengths.size() << " lengths";
  if (library_seconds > 0)
    text << "; a layer of all that were timed takes " << own_seconds * 1e3
         << " ms by our own kernels, " << library_seconds * 1e3 << " ms by cuDNN";
  if (!refusal.empty()) text << "; " << refusal;
  return text.str();
}

AttentionChoice choose_attention(const plan::JobPlan& job, kernels::Backend& backend,
                                 comm::Group& all, std::span<std::byte> idle,
                                 std::size_t reserved_bytes,
                                 const std::optional<AttentionChoice>& stored,
                                 std::vector<std::string>& notes) {
  std::string device = backend.device->description();
  all.broadcast(device, 0, [] { return "taking rank 0's device"; });
  AttentionChoice choice = attention_of(job, device);
  bool reuse = false;
  if (stored) {
    const std::string differences = attention_differences(*stored, choice);
    reuse = differences.empty();
    if (reuse) choice = *stored;
    notes.push_back(
        reuse ? "attention as the run chose it before its checkpoint"
              : concat("attention is chosen anew: the checkpoint's choice was made ", differences));
  }
  for (AttentionLength& length : choice.lengths) {
    const bool candidate = !reuse || length.provider == AttentionProvider::kLibrary;
    length.provider = AttentionProvider::kOwn;
    if (!candidate) continue;
    AttentionTrial trial(job, backend, idle, length.tokens, length.keys);
    const std::string refusal = agreed_refusal(trial, backend, all, length, reserved_bytes);
    if (reuse && refusal.empty()) {
      length.provider = AttentionProvider::kLibrary;
    } else if (!refusal.empty()) {
      if (reuse)
        notes.push_back(concat("attention of ", length.tokens, " tokens over ", length.keys,
                               " keys was cuDNN's in the checkpoint's run and is our own kernels' "
                               "now, with other bits: ",
                               refusal));
      length.refusal = refusal;
    } else {
      if (all.rank() == 0) {
        const auto watch = all.watch(
            concat("timing attention of ", length.tokens, " tokens over ", length.keys, " keys"));
        measure(trial, backend, length);
      }
      take_from_rank_0(all, length);
      if (length.refusal.empty() && length.library_seconds < length.own_seconds)
        length.provider = AttentionProvider::kLibrary;
    }
    choose(backend, length, length.provider);
    // What the library built in vain would leave less for the lengths to come. The graphs
    // captured in the trial hold its addresses.
    backend.device->forget_graphs();
    backend.ops->release_unchosen_attention();
  }
  return choice;
}

}  // namespace seq1f1b::runtime

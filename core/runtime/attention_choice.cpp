#include "core/runtime/attention_choice.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "core/base/text.h"
#include "core/config/compute_dtype.h"
#include "core/model/carver.h"
#include "kernels/common/bf16.h"
#include "kernels/common/philox.h"

namespace seq1f1b::runtime {
namespace {

using kernels::AttentionProvider;
using kernels::Tensor;

// The median of five bears two that something else disturbed.
constexpr int kRepetitions = 5;

// The operands of one layer's attention, all in use at once: the plan of a stage has a place for
// each of them in the backward of a unit.
class Trial {
 public:
  Trial(const JobPlan& job, kernels::Backend& backend, std::span<std::byte> memory,
        const AttentionLength& length)
      : backend_(backend), scale_(1 / std::sqrt(static_cast<double>(job.spec.head_dim))) {
    const model::ModelSpec& spec = job.spec;
    const std::int64_t sequences = job.config.training.micro_batch_size;
    const std::int64_t capacity = job.config.training.seq_length;
    range_ = {
        .query_start = length.keys - length.tokens, .key_start = 0, .key_length = length.keys};
    // The last segment is the first to come back.
    mode_ = length.keys == capacity ? kernels::Accumulate::kOverwrite : kernels::Accumulate::kAdd;
    model::Carver carver(memory.data());
    const auto queries = [&] {
      return carver.take(backend.compute, {sequences, length.tokens, spec.heads, spec.head_dim});
    };
    const auto keys = [&](kernels::Dtype dtype) {
      return carver.take(dtype, {sequences, spec.kv_heads, capacity, spec.head_dim});
    };
    query_ = queries();
    output_ = queries();
    grad_output_ = queries();
    grad_query_ = queries();
    log_sum_exp_ = carver.take(backend.accumulate, {sequences, spec.heads, length.tokens});
    key_ = keys(backend.compute);
    value_ = keys(backend.compute);
    grad_key_ = keys(backend.accumulate);
    grad_value_ = keys(backend.accumulate);
    SEQ1F1B_ASSERT(carver.used() <= memory.size(), "attention needs ", carver.used(), " of ",
                   memory.size(), " bytes");
  }

  // Noise in what is read: the speed of a GPU depends on the numbers, through its power.
  void fill() {
    for (const Tensor& tensor : {query_, key_, value_, grad_output_}) fill_with_noise(tensor);
    for (const Tensor& tensor : {grad_key_, grad_value_}) backend_.ops->fill(tensor, 0);
  }

  // Builds the library's part of it and looks at what it leaves.
  void prepare(std::size_t reserved_bytes) {
    backend_.ops->prepare_attention(query_, key_, range_);
    const std::size_t free = backend_.device->free_bytes();
    if (free > 0 && free < reserved_bytes)
      throw Error(kExitUnexpected,
                  concat("it leaves ", base::bytes_text(free), " of device memory, of which ",
                         base::bytes_text(reserved_bytes), " are needed"));
  }

  // Issues the work as the job will: as a record where the device makes them. The first call of a
  // key does what is done once.
  void run(std::uint64_t key) {
    backend_.device->replay(key, [&] {
      backend_.ops->attention_forward(query_, key_, value_, range_, scale_, output_, log_sum_exp_);
      backend_.ops->attention_backward(grad_output_, query_, key_, value_, output_, log_sum_exp_,
                                       range_, scale_, grad_query_, grad_key_, grad_value_, mode_);
    });
  }

  double seconds(std::uint64_t key) {
    constexpr int kBegin = 0, kEnd = 1;
    backend_.device->stamp(kBegin);
    run(key);
    backend_.device->stamp(kEnd);
    backend_.device->synchronize();
    return backend_.device->seconds_between(kBegin, kEnd);
  }

 private:
  // A piece comes from the host and is copied until the tensor is full.
  void fill_with_noise(const Tensor& tensor) {
    constexpr std::size_t kMostValues = std::size_t{1} << 18;
    const std::size_t width = kernels::dtype_bytes(tensor.dtype), bytes = tensor.bytes();
    const std::size_t count = std::min(bytes / width, kMostValues);
    std::vector<std::byte> piece(count * width);
    for (std::size_t i = 0; i < count; ++i) {
      const double value = 2 * kernels::philox_uniform(kernels::philox(0, i)[0]) - 1;
      const auto put = [&](auto typed) {
        std::memcpy(piece.data() + i * width, &typed, sizeof typed);
      };
      switch (tensor.dtype) {
        case kernels::Dtype::kBf16:
          put(kernels::Bf16(static_cast<float>(value)));
          break;
        case kernels::Dtype::kF32:
          put(static_cast<float>(value));
          break;
        default:
          put(value);
          break;
      }
    }
    auto* const data = static_cast<std::byte*>(tensor.data);
    backend_.device->upload(data, piece.data(), piece.size());
    for (std::size_t full = piece.size(); full < bytes;) {
      const std::size_t next = std::min(full, bytes - full);
      backend_.device->copy(data + full, data, next);
      full += next;
    }
  }

  kernels::Backend& backend_;
  double scale_;
  kernels::AttentionRange range_;
  kernels::Accumulate mode_ = kernels::Accumulate::kAdd;
  Tensor query_, output_, grad_output_, grad_query_, log_sum_exp_, key_, value_, grad_key_,
      grad_value_;
};

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
std::string agreed_refusal(Trial& trial, kernels::Backend& backend, comm::Group& all,
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
void measure(Trial& trial, kernels::Backend& backend, AttentionLength& length) {
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

// Rank 0's times, in hexadecimal digits that lose nothing, and refusal.
void take_from_rank_0(comm::Group& all, AttentionLength& length) {
  char times[96];
  std::snprintf(times, sizeof times, "%a %a ", length.own_seconds, length.library_seconds);
  const std::string theirs =
      all.all_gather(times + length.refusal,
                     [&] {
                       return concat("timing attention of ", length.tokens, " tokens over ",
                                     length.keys, " keys on rank 0");
                     })
          .front();
  const char* rest = theirs.c_str();
  for (double* seconds : {&length.own_seconds, &length.library_seconds}) {
    char* end = nullptr;
    *seconds = std::strtod(rest, &end);
    rest = end + 1;
  }
  length.refusal = rest;
}

}  // namespace

AttentionChoice attention_of(const JobPlan& job, const std::string& device) {
  AttentionChoice choice;
  choice.circumstances = {.device = device,
                          .compute_dtype = config::compute_dtype(job.config.runtime),
                          .deterministic = job.config.runtime.deterministic == "true",
                          .micro_batch_size = job.config.training.micro_batch_size};
  for (const model::Extent& extent : job.extents()) {
    AttentionLength length;
    length.tokens = extent.tokens;
    length.keys = extent.start + extent.tokens;
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

AttentionChoice choose_attention(const JobPlan& job, kernels::Backend& backend, comm::Group& all,
                                 std::span<std::byte> idle, std::size_t reserved_bytes,
                                 const std::optional<AttentionChoice>& stored,
                                 std::vector<std::string>& notes) {
  const std::string device =
      all.all_gather(backend.device->description(), [] { return "comparing the devices"; }).front();
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
    Trial trial(job, backend, idle, length);
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
    // What the library built in vain would leave less for the lengths to come. The records of the
    // trial hold its addresses.
    backend.device->forget_records();
    backend.ops->release_unchosen_attention();
  }
  return choice;
}

}  // namespace seq1f1b::runtime

#include "core/data/dataset.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "core/data/permutation.h"
#include "kernels/common/errors.h"
#include "kernels/common/philox.h"

namespace seq1f1b::data {
namespace {

constexpr std::array<const char*, 3> kShareNames{"training", "validation", "test"};

}  // namespace

struct Dataset::State {
  State(std::shared_ptr<const TokenFiles> opened, const DatasetSpec& spec)
      : files(std::move(opened)),
        proportions(spec.proportions),
        split(spec.split),
        seq_length(spec.seq_length),
        window_key(kernels::name_key("data.windows", spec.seed)) {
    SEQ1F1B_ASSERT(seq_length >= 1, "seq_length ", seq_length);
    choose_documents(spec.seed);
  }

  std::int64_t tokens() const { return ends.empty() ? 0 : ends.back(); }
  std::int64_t windows() const { return tokens() == 0 ? 0 : (tokens() - 1) / seq_length; }

  // All documents of all files, shuffled by seed; the share is a range of that order.
  void choose_documents(std::uint64_t seed) {
    std::vector<std::int64_t> all(static_cast<std::size_t>(files->documents()));
    std::iota(all.begin(), all.end(), std::int64_t{0});
    shuffle(all, kernels::name_key("data.documents", seed));
    const auto bounds = split_bounds(proportions, files->documents());
    const auto index = static_cast<std::size_t>(split);
    order.assign(all.begin() + bounds[index], all.begin() + bounds[index + 1]);
    ends.reserve(order.size());
    std::int64_t end = 0;
    for (const std::int64_t document : order)
      ends.push_back(end += files->document_tokens(document));
  }

  // Tokens [first, first + output.size()) of the split.
  void read(std::int64_t first, std::span<std::int32_t> output) const {
    auto at =
        static_cast<std::size_t>(std::upper_bound(ends.begin(), ends.end(), first) - ends.begin());
    while (!output.empty()) {
      const std::int64_t begin = at == 0 ? 0 : ends[at - 1];
      const auto count =
          std::min<std::size_t>(output.size(), static_cast<std::size_t>(ends[at] - first));
      files->read(order[at], first - begin, output.first(count));
      output = output.subspan(count);
      first = ends[at];
      ++at;
    }
  }

  std::shared_ptr<const TokenFiles> files;
  SplitProportions proportions;
  Split split;
  std::int64_t seq_length;
  std::uint64_t window_key;
  std::vector<std::int64_t> order;  // documents of the share
  std::vector<std::int64_t> ends;   // tokens of the share up to and including each of them
};

Dataset::Dataset(const DatasetSpec& spec)
    : Dataset(std::make_shared<TokenFiles>(spec.prefixes, spec.vocab_size), spec) {}
Dataset::Dataset(std::shared_ptr<const TokenFiles> files, const DatasetSpec& spec)
    : state_(std::make_unique<State>(std::move(files), spec)) {}
Dataset::~Dataset() = default;
Dataset::Dataset(Dataset&&) noexcept = default;

std::int64_t Dataset::documents() const { return static_cast<std::int64_t>(state_->order.size()); }
std::int64_t Dataset::tokens() const { return state_->tokens(); }
std::int64_t Dataset::windows() const { return state_->windows(); }

void Dataset::require_windows() const {
  if (windows() > 0) return;
  const State& state = *state_;
  throw DataError(concat("the ", kShareNames[static_cast<std::size_t>(state.split)], " share of ",
                         state.files->first_prefix(), state.files->count() > 1 ? " and others" : "",
                         " (split ", state.proportions[0], ",", state.proportions[1], ",",
                         state.proportions[2], ") has ", tokens(), " tokens in ", documents(),
                         " of ", state.files->documents(), " documents; one window of seq_length ",
                         state.seq_length, " needs ", state.seq_length + 1));
}

void Dataset::sample(std::int64_t index, std::span<std::int32_t> output) const {
  const State& state = *state_;
  SEQ1F1B_ASSERT(index >= 0, "sample ", index);
  SEQ1F1B_ASSERT(static_cast<std::int64_t>(output.size()) == state.seq_length + 1, "room for ",
                 output.size(), " tokens, seq_length ", state.seq_length);
  const std::int64_t windows = state.windows();
  SEQ1F1B_ASSERT(windows > 0, "a share without windows");
  const std::int64_t epoch = index / windows;
  std::int64_t window = index % windows;
  if (state.split == Split::kTrain)
    window = permute(window, windows, state.window_key, static_cast<std::uint64_t>(epoch));
  state.read(window * state.seq_length, output);
}

}  // namespace seq1f1b::data

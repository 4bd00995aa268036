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
  explicit State(const DatasetSpec& spec)
      : share(spec.share),
        seq_length(spec.seq_length),
        vocab_size(spec.vocab_size),
        window_key(kernels::name_key("data.windows", spec.seed)) {
    SEQ1F1B_ASSERT(seq_length >= 1, "seq_length ", seq_length);
    if (spec.prefixes.empty()) throw ConfigError("data.train names no token files");
    for (const std::string& prefix : spec.prefixes) {
      first_document.push_back(documents_in_files());
      files.emplace_back(prefix);
    }
    choose_documents(spec);
    if (tokens() < seq_length + 1)
      throw DataError(concat("the ", kShareNames[static_cast<std::size_t>(share)], " share of ",
                             spec.prefixes.front(), spec.prefixes.size() > 1 ? " and others" : "",
                             " (split ", spec.shares[0], ",", spec.shares[1], ",", spec.shares[2],
                             ") has ", tokens(), " tokens in ", order.size(), " of ",
                             documents_in_files(), " documents; one window of seq_length ",
                             seq_length, " needs ", seq_length + 1));
  }

  std::int64_t documents_in_files() const {
    return files.empty() ? 0 : first_document[files.size() - 1] + files.back().documents();
  }
  std::int64_t tokens() const { return ends.empty() ? 0 : ends.back(); }
  std::int64_t windows() const { return (tokens() - 1) / seq_length; }

  // All documents of all files, shuffled by seed; the share is a range of that order.
  void choose_documents(const DatasetSpec& spec) {
    std::vector<std::int64_t> all(static_cast<std::size_t>(documents_in_files()));
    std::iota(all.begin(), all.end(), std::int64_t{0});
    shuffle(all, kernels::name_key("data.documents", spec.seed));
    const auto bounds = share_bounds(spec.shares, documents_in_files());
    const auto index = static_cast<std::size_t>(share);
    order.assign(all.begin() + bounds[index], all.begin() + bounds[index + 1]);
    ends.reserve(order.size());
    std::int64_t end = 0;
    for (const std::int64_t document : order) {
      const auto [file, local] = locate(document);
      ends.push_back(end += files[file].document_tokens(local));
    }
  }

  struct Place {
    std::size_t file;
    std::int64_t document;
  };
  Place locate(std::int64_t document) const {
    const auto next = std::upper_bound(first_document.begin(), first_document.end(), document);
    const auto file = static_cast<std::size_t>(next - first_document.begin()) - 1;
    return {file, document - first_document[file]};
  }

  // Tokens [first, first + output.size()) of the share.
  void read(std::int64_t first, std::span<std::int32_t> output) const {
    auto at =
        static_cast<std::size_t>(std::upper_bound(ends.begin(), ends.end(), first) - ends.begin());
    while (!output.empty()) {
      const std::int64_t begin = at == 0 ? 0 : ends[at - 1];
      const auto count =
          std::min<std::size_t>(output.size(), static_cast<std::size_t>(ends[at] - first));
      const auto [file, document] = locate(order[at]);
      files[file].read(document, first - begin, vocab_size, output.first(count));
      output = output.subspan(count);
      first = ends[at];
      ++at;
    }
  }

  Share share;
  std::int64_t seq_length;
  int vocab_size;
  std::uint64_t window_key;
  std::vector<TokenFile> files;
  std::vector<std::int64_t> first_document;  // of each file, among all
  std::vector<std::int64_t> order;           // documents of the share
  std::vector<std::int64_t> ends;            // tokens of the share up to and including each of them
};

Dataset::Dataset(const DatasetSpec& spec) : state_(std::make_unique<State>(spec)) {}
Dataset::~Dataset() = default;
Dataset::Dataset(Dataset&&) noexcept = default;

std::int64_t Dataset::documents() const { return static_cast<std::int64_t>(state_->order.size()); }
std::int64_t Dataset::tokens() const { return state_->tokens(); }
std::int64_t Dataset::windows() const { return state_->windows(); }

void Dataset::sample(std::int64_t index, std::span<std::int32_t> output) const {
  const State& state = *state_;
  SEQ1F1B_ASSERT(index >= 0, "sample ", index);
  SEQ1F1B_ASSERT(static_cast<std::int64_t>(output.size()) == state.seq_length + 1, "room for ",
                 output.size(), " tokens, seq_length ", state.seq_length);
  const std::int64_t windows = state.windows();
  const std::int64_t epoch = index / windows;
  std::int64_t window = index % windows;
  if (state.share == Share::kTrain)
    window = permute(window, windows, state.window_key, static_cast<std::uint64_t>(epoch));
  state.read(window * state.seq_length, output);
}

}  // namespace seq1f1b::data

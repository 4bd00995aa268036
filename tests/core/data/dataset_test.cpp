#include "core/data/dataset.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "core/data/permutation.h"
#include "core/data/split.h"
#include "kernels/common/errors.h"
#include "tests/catch.h"
#include "tests/support/temporary_folder.h"

using namespace seq1f1b;
using namespace seq1f1b::data;
using namespace seq1f1b::testing;

namespace {

using Tokens = std::vector<std::int32_t>;

constexpr int kVocabulary = 60000;

// Documents of 0 to 12 tokens; every token of all files is a different number, so that a token
// tells where it came from.
class Corpus {
 public:
  explicit Corpus(const std::vector<int>& documents_per_file) {
    std::mt19937 random(5);
    for (std::size_t i = 0; i < documents_per_file.size(); ++i) {
      prefixes.push_back(folder.file("part" + std::to_string(i)));
      TokenFileWriter writer(prefixes.back(), kVocabulary);
      for (int document = 0; document < documents_per_file[i]; ++document) {
        Tokens tokens(random() % 13);
        std::iota(tokens.begin(), tokens.end(), total);
        total += static_cast<std::int32_t>(tokens.size());
        for (const std::int32_t token : tokens) document_of[token] = documents;
        ++documents;
        writer.add_document(tokens);
      }
      writer.finish();
    }
  }

  DatasetSpec spec(std::int64_t seq_length, Split split = Split::kTrain) const {
    DatasetSpec spec;
    spec.prefixes = prefixes;
    spec.seq_length = seq_length;
    spec.split = split;
    spec.seed = 42;
    spec.vocab_size = kVocabulary;
    spec.proportions = {80, 15, 5};
    return spec;
  }

  TemporaryFolder folder;
  std::vector<std::string> prefixes;
  std::map<std::int32_t, int> document_of;
  std::int32_t total = 0;
  int documents = 0;
};

Tokens sample(const Dataset& dataset, std::int64_t index, std::int64_t seq_length) {
  Tokens tokens(static_cast<std::size_t>(seq_length + 1), -1);
  dataset.sample(index, tokens);
  return tokens;
}

// The share's tokens in their order, put together from its windows of one token each.
Tokens stream(DatasetSpec spec) {
  spec.seq_length = 1;
  const Dataset dataset(spec);
  std::map<std::int32_t, std::int32_t> next;
  std::set<std::int32_t> seconds;
  for (std::int64_t i = 0; i < dataset.windows(); ++i) {
    const Tokens pair = sample(dataset, i, 1);
    REQUIRE(next.emplace(pair[0], pair[1]).second);
    seconds.insert(pair[1]);
  }
  Tokens tokens;
  for (const auto& [first, second] : next)
    if (!seconds.count(first)) tokens.push_back(first);
  REQUIRE(tokens.size() == 1);
  while (next.count(tokens.back())) tokens.push_back(next.at(tokens.back()));
  REQUIRE(static_cast<std::int64_t>(tokens.size()) == dataset.tokens());
  return tokens;
}

}  // namespace

TEST_CASE("every token of the share is read once per epoch, except the tail") {
  const Corpus corpus({300, 1, 77});
  const std::int64_t seq_length = GENERATE(1, 7, 16, 64);
  for (const Split split : {Split::kTrain, Split::kValidation, Split::kTest}) {
    const DatasetSpec spec = corpus.spec(seq_length, split);
    const Dataset dataset(spec);
    const Tokens tokens = stream(spec);
    REQUIRE(dataset.windows() == (dataset.tokens() - 1) / seq_length);
    for (std::int64_t epoch = 0; epoch < 2; ++epoch) {
      std::map<std::int32_t, int> inputs;
      std::map<std::int32_t, int> targets;
      for (std::int64_t i = 0; i < dataset.windows(); ++i) {
        const Tokens window = sample(dataset, epoch * dataset.windows() + i, seq_length);
        for (std::size_t j = 0; j < window.size() - 1; ++j) {
          ++inputs[window[j]];
          ++targets[window[j + 1]];
        }
      }
      const std::int64_t covered = dataset.windows() * seq_length;
      for (std::int64_t i = 0; i < dataset.tokens(); ++i) {
        const std::int32_t token = tokens[static_cast<std::size_t>(i)];
        REQUIRE(inputs[token] == (i < covered ? 1 : 0));
        REQUIRE(targets[token] == (i > 0 && i <= covered ? 1 : 0));
      }
    }
  }
}

TEST_CASE("a sample is a window of the share's stream and depends on its number alone") {
  const Corpus corpus({300, 77});
  const std::int64_t seq_length = 20;
  const DatasetSpec spec = corpus.spec(seq_length);
  const Dataset dataset(spec);
  const Tokens tokens = stream(spec);
  std::vector<Tokens> expected;
  for (std::int64_t i = 0; i < 3 * dataset.windows(); ++i) {
    expected.push_back(sample(dataset, i, seq_length));
    const auto begin = std::find(tokens.begin(), tokens.end(), expected.back().front());
    REQUIRE(tokens.end() - begin >= seq_length + 1);
    REQUIRE((begin - tokens.begin()) % seq_length == 0);
    REQUIRE(std::equal(expected.back().begin(), expected.back().end(), begin));
  }
  // As a resumed run reads: a fresh object, any order, samples left out.
  const Dataset resumed(spec);
  std::mt19937 random(9);
  for (int i = 0; i < 500; ++i) {
    const std::size_t index = random() % expected.size();
    REQUIRE(sample(resumed, static_cast<std::int64_t>(index), seq_length) == expected[index]);
  }
}

TEST_CASE("epochs and seeds order the windows differently") {
  const Corpus corpus({400});
  DatasetSpec spec = corpus.spec(8);
  const Dataset dataset(spec);
  const auto starts = [](const Dataset& data, std::int64_t epoch) {
    Tokens first;
    for (std::int64_t i = 0; i < data.windows(); ++i)
      first.push_back(sample(data, epoch * data.windows() + i, 8).front());
    return first;
  };
  const Tokens epoch0 = starts(dataset, 0);
  const Tokens epoch1 = starts(dataset, 1);
  const bool same_order = epoch0 == epoch1;
  CHECK_FALSE(same_order);
  CHECK(std::set<std::int32_t>(epoch0.begin(), epoch0.end()) ==
        std::set<std::int32_t>(epoch1.begin(), epoch1.end()));
  const Tokens stream42 = stream(spec);
  spec.seed = 43;
  const bool same_stream = stream(spec) == stream42;
  CHECK_FALSE(same_stream);
}

TEST_CASE("validation and test are read in order, the same in every epoch") {
  const Corpus corpus({400});
  for (const Split split : {Split::kValidation, Split::kTest}) {
    const DatasetSpec spec = corpus.spec(8, split);
    const Dataset dataset(spec);
    const Tokens tokens = stream(spec);
    for (std::int64_t i = 0; i < 2 * dataset.windows(); ++i) {
      const auto first = static_cast<std::size_t>(i % dataset.windows() * 8);
      REQUIRE(sample(dataset, i, 8).front() == tokens[first]);
    }
  }
}

TEST_CASE("shares are disjoint sets of whole documents in the asked proportions") {
  const Corpus corpus({700, 300});
  std::map<int, int> share_of_document;
  std::int64_t tokens = 0;
  const std::vector<std::int64_t> sizes{800, 150, 50};
  for (const Split split : {Split::kTrain, Split::kValidation, Split::kTest}) {
    const DatasetSpec spec = corpus.spec(4, split);
    CHECK(Dataset(spec).documents() == sizes[static_cast<std::size_t>(split)]);
    const Tokens share_tokens = stream(spec);
    tokens += static_cast<std::int64_t>(share_tokens.size());
    for (const std::int32_t token : share_tokens) {
      const int document = corpus.document_of.at(token);
      REQUIRE(share_of_document.emplace(document, static_cast<int>(split)).first->second ==
              static_cast<int>(split));
    }
    // Shuffled first: the share does not come from one end of the files.
    const auto [low, high] = std::minmax_element(share_tokens.begin(), share_tokens.end());
    CHECK(*low < corpus.total / 5);
    CHECK(*high > corpus.total * 4 / 5);
  }
  CHECK(tokens == corpus.total);
}

TEST_CASE("bounds of shares are rounded running sums") {
  using Bounds = std::array<std::int64_t, 4>;
  CHECK(split_bounds({949, 50, 1}, 1000) == Bounds{0, 949, 999, 1000});
  CHECK(split_bounds({949, 50, 1}, 31102) == Bounds{0, 29516, 31071, 31102});
  CHECK(split_bounds({98, 2, 0}, 10) == Bounds{0, 10, 10, 10});
  CHECK(split_bounds({1, 0, 0}, 7) == Bounds{0, 7, 7, 7});
  CHECK(split_bounds({0.5, 0.25, 0.25}, 8) == Bounds{0, 4, 6, 8});
  CHECK(split_bounds({1, 1, 1}, 0) == Bounds{0, 0, 0, 0});
  CHECK_THROWS_AS(split_bounds({0, 0, 0}, 7), InternalError);
}

TEST_CASE("too little data, wrong vocabulary and missing files are said clearly") {
  const Corpus corpus({10});
  const auto open = [](const DatasetSpec& spec) {
    return message_of<Error>([&] { Dataset(spec).require_windows(); });
  };
  DatasetSpec spec = corpus.spec(1000);
  spec.proportions = {1, 0, 0};
  CHECK(open(spec) ==
        "the training share of " + corpus.prefixes[0] + " (split 1,0,0) has " +
            std::to_string(corpus.total) +
            " tokens in 10 of 10 documents; one window of seq_length 1000 needs 1001");
  spec = corpus.spec(4, Split::kTest);
  spec.proportions = {1, 0, 0};
  CHECK(open(spec).find("the test share of ") == 0);
  spec.seq_length = corpus.total;  // one token short
  spec.split = Split::kTrain;
  CHECK(Dataset(spec).windows() == 0);
  CHECK_THROWS_AS(Dataset(spec).require_windows(), DataError);
  spec.seq_length = corpus.total - 1;
  CHECK(Dataset(spec).windows() == 1);
  spec.prefixes.push_back(corpus.folder.file("missing"));
  CHECK(open(spec) ==
        "cannot open " + corpus.folder.file("missing.idx") + ": No such file or directory");
  spec.prefixes.clear();
  CHECK_THROWS_AS(Dataset(spec), ConfigError);

  spec = corpus.spec(corpus.total - 1);
  spec.proportions = {1, 0, 0};
  spec.vocab_size = corpus.total - 1;  // the last token is outside
  CHECK(open(spec) ==
        corpus.prefixes[0] + ".bin: at byte " + std::to_string(2 * (corpus.total - 1)) +
            ": token " + std::to_string(corpus.total - 1) + " in a vocabulary of " +
            std::to_string(corpus.total - 1) + "; was the file made with another tokenizer?");
}

TEST_CASE("permute is a permutation of every size and differs between keys and epochs") {
  for (std::int64_t size = 1; size <= 300; ++size) {
    std::vector<bool> hit(static_cast<std::size_t>(size));
    for (std::int64_t i = 0; i < size; ++i) {
      const std::int64_t to = permute(i, size, 17, static_cast<std::uint64_t>(size));
      REQUIRE(to >= 0);
      REQUIRE(to < size);
      REQUIRE_FALSE(hit[static_cast<std::size_t>(to)]);
      hit[static_cast<std::size_t>(to)] = true;
    }
  }
  const std::int64_t large = std::int64_t{1} << 40;
  CHECK(permute(1, large, 17, 0) != permute(1, large, 18, 0));
  CHECK(permute(1, large, 17, 0) != permute(1, large, 17, 1));
  CHECK_THROWS_AS(permute(3, 3, 17, 0), InternalError);
}

TEST_CASE("both orders are fair") {
  // 6000 draws over 6 cells: 1000 expected, standard deviation 29; 150 is five of them.
  std::map<std::vector<std::int64_t>, int> orders;
  std::map<std::int64_t, int> places;
  for (std::uint64_t key = 0; key < 6000; ++key) {
    std::vector<std::int64_t> values{0, 1, 2};
    shuffle(values, key);
    ++orders[values];
    ++places[permute(2, 6, key, 0)];
  }
  CHECK(orders.size() == 6);
  CHECK(places.size() == 6);
  for (const auto& [order, count] : orders) CHECK(std::abs(count - 1000) < 150);
  for (const auto& [place, count] : places) CHECK(std::abs(count - 1000) < 150);
}

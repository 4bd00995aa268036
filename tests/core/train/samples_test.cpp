// Batches of a run, and the incomplete batch at the end of an evaluation.
#include <algorithm>
#include <filesystem>
#include <numeric>

#include "core/data/token_file.h"
#include "core/parameters/initialise.h"
#include "core/train/samples.h"
#include "tests/catch.h"
#include "tests/support/harness.h"
#include "tests/support/temporary_folder.h"

namespace seq1f1b::testing {
namespace {

constexpr int kDocuments = 20, kDocumentTokens = 47;

// Token files of one test, removed at its end. 20 documents of 47 tokens.
class Corpus {
 public:
  explicit Corpus(const std::string& name)
      : prefix_(std::string(SEQ1F1B_BINARY_DIR) + "/samples_test_" + name) {
    data::TokenFileWriter writer(prefix_, 37);
    for (int document = 0; document < kDocuments; ++document) {
      std::vector<std::int32_t> tokens(kDocumentTokens);
      for (std::size_t i = 0; i < tokens.size(); ++i)
        tokens[i] = (document * 5 + static_cast<int>(i) * 3) % 37;
      writer.add_document(tokens);
    }
    writer.finish();
  }
  ~Corpus() {
    for (const char* ending : {".bin", ".idx"}) std::filesystem::remove(prefix_ + ending);
  }
  const std::string& prefix() const { return prefix_; }

 private:
  std::string prefix_;
};

config::Config config_with(const Corpus& corpus, const std::string& split) {
  config::Config config = tiny_config("llama");
  config.data.train = {corpus.prefix()};
  config.data.split = split;
  return config;
}

}  // namespace

TEST_CASE("an evaluation ends with a batch that is padded", "[samples]") {
  const Corpus corpus("padded");
  const config::Config config = config_with(corpus, "50,50,0");
  const train::Samples samples(config);
  // 10 documents of 47 tokens make (470 - 1) / 23 = 20 windows, 5 batches of 4; of 6 there is a
  // rest.
  CHECK(samples.evaluation_batches(0) == 5);
  CHECK(samples.evaluation_batches(3) == 3);
  CHECK(samples.evaluation_batches(99) == 5);
  config::Config sixes = config;
  sixes.training.global_batch_size = 6;
  const train::Samples larger(sixes);
  REQUIRE(larger.evaluation_batches(0) == 4);
  std::vector<std::int32_t> batch(larger.batch_tokens());
  std::int64_t tokens = 0;
  for (int index = 0; index < 4; ++index) {
    larger.evaluation_batch(index, batch);
    tokens += train::count_labels(batch, 23, nullptr).tokens;
  }
  CHECK(tokens == 20 * 23);  // every label of the share once
  CHECK(std::count(batch.begin(), batch.end(), -1) == 4 * 24);
}

TEST_CASE("without a validation share there is nothing to evaluate", "[samples]") {
  const Corpus corpus("none");
  CHECK(train::Samples(config_with(corpus, "1,0,0")).evaluation_batches(0) == 0);
}

TEST_CASE("training batches go on where the count of consumed samples stands", "[samples]") {
  const Corpus corpus("consumed");
  const train::Samples samples(config_with(corpus, "50,50,0"));
  std::vector<std::int32_t> first(samples.batch_tokens()), second(first), shifted(first);
  samples.training_batch(0, first);
  samples.training_batch(4, second);
  samples.training_batch(2, shifted);
  const auto half = static_cast<std::ptrdiff_t>(first.size() / 2);
  CHECK(std::equal(first.begin() + half, first.end(), shifted.begin()));
  CHECK(std::equal(second.begin(), second.begin() + half, shifted.begin() + half));
}

TEST_CASE("files that are shortened under a run are told, and do not end the process",
          "[samples]") {
  const Corpus corpus("shortened");
  const train::Samples samples(config_with(corpus, "50,50,0"));
  std::vector<std::int32_t> batch(samples.batch_tokens());
  samples.training_batch(0, batch);
  std::filesystem::resize_file(corpus.prefix() + ".bin", 100);
  const std::string message = corpus.prefix() +
                              ".bin: has 100 bytes, 1880 when it was opened: it was "
                              "shortened while it was being read";
  CHECK(message_of<DataError>([&] { samples.training_batch(0, batch); }) == message);
  CHECK(message_of<DataError>([&] { samples.evaluation_batch(0, batch); }) == message);
}

TEST_CASE("another seed, other samples", "[samples]") {
  const Corpus corpus("seeds");
  std::vector<std::vector<std::int32_t>> batches;
  for (const std::uint64_t seed : {1u, 2u, 1u}) {
    config::Config config = config_with(corpus, "50,50,0");
    config.training.seed = seed;
    const train::Samples samples(config);
    samples.training_batch(0, batches.emplace_back(samples.batch_tokens()));
  }
  CHECK(batches[0] != batches[1]);
  CHECK(batches[0] == batches[2]);
}

// The same sequences alone and with padding behind them, whatever pads.
TEST_CASE("padding adds nothing to the loss of an evaluation", "[samples]") {
  config::Config config = tiny_config("gpt3");
  config.training.micro_batch_size = 2;
  config.schedule = {.name = "seq1f1b", .segments = 3, .partition = "even", .segment_lengths = {}};
  config.parallel.pipeline_model_parallel_size = 2;
  double padded_loss = 0, whole_loss = 0, sum_of_parts = 0;
  run_job(plan_with(config), On::kReference, [&](RankContext& context) {
    parameters::initialise(context.runtime.store(), 1, *context.backend.device,
                           *context.backend.ops);
    const auto window = static_cast<std::size_t>(config.training.seq_length + 1);
    const std::vector<std::int32_t> whole = random_samples(config, 1, 1);
    std::vector<std::int32_t> head(whole), tail(whole);  // the first sequence; the other three
    std::fill(head.begin() + static_cast<std::ptrdiff_t>(window), head.end(), -1);
    std::fill_n(tail.begin(), window, -1);
    const double of_whole = context.runtime.evaluate_pass(whole, 1).loss_sum;
    const double of_head = context.runtime.evaluate_pass(head, 1).loss_sum;
    const double of_tail = context.runtime.evaluate_pass(tail, 1).loss_sum;
    if (!context.runtime.has_head()) return;
    whole_loss = of_whole;
    padded_loss = of_head;
    sum_of_parts = of_head + of_tail;
  });
  CHECK(padded_loss > 0);
  CHECK(padded_loss < 0.5 * whole_loss);
  CHECK(sum_of_parts == Approx(whole_loss).epsilon(1e-13));
}

}  // namespace seq1f1b::testing

// What a run finds out before its first step: the tokenizer and the threads.
#include "core/train/set_up.h"
#include "core/base/cores.h"
#include "core/base/files.h"
#include "core/train/agreement.h"
#include "kernels/common/errors.h"
#include "tests/catch.h"
#include "tests/core/comm/rank_threads.h"
#include "tests/support/harness.h"
#include "tests/support/temporary_folder.h"

namespace seq1f1b::testing {

TEST_CASE("the tokenizer is the configured one, else the one beside the data", "[set_up]") {
  const TemporaryFolder folder;
  const auto write = [&](const std::string& name, const std::string& separator) {
    const std::string path = folder.file(name);
    base::atomic_write_file(path, data::make_byte_tokenizer(separator)->to_json());
    return path;
  };
  const std::string beside = write("corpus.tokenizer.json", "\n");
  const std::string other = write("other.json", "\n\n");
  config::Loaded loaded{tiny_config("llama"), {}};
  config::ModelConfig& model = loaded.config.model;
  loaded.config.data.train = {folder.file("corpus")};
  model.vocab_size = 0;
  loaded.config.data.tokenizer = "auto";
  CHECK(train::load_tokenizer(loaded)->token_bytes(256) == 1);
  CHECK(model.vocab_size == 257);
  CHECK(loaded.origins["model.vocab_size"] == beside);

  loaded.config.data.train = {folder.file("elsewhere")};
  loaded.config.data.tokenizer = other;
  CHECK(train::load_tokenizer(loaded)->token_bytes(256) == 2);
  model.vocab_size = 256;
  CHECK_THROWS_AS(train::load_tokenizer(loaded), ConfigError);
  model.vocab_size = 258;  // room for more is no fault
  CHECK(train::load_tokenizer(loaded)->vocab_size() == 257);

  loaded.config.data.tokenizer = "auto";
  CHECK(train::load_tokenizer(loaded) == nullptr);
  model.vocab_size = 0;
  CHECK(message_of<ConfigError>([&] {
          train::load_tokenizer(loaded);
        }).find("there is no " + folder.file("elsewhere.tokenizer.json")) != std::string::npos);
}

TEST_CASE("ranks that see different tokenizers end alike, and hear in what", "[set_up]") {
  const TemporaryFolder folder;
  struct Sample {
    std::string file, text, left, right;
  };
  const auto text_of = [](const char* separator) {
    return data::make_byte_tokenizer(separator)->to_json();
  };
  std::string words;
  for (int i = 0; i < 300; ++i) words += concat("word", i, " and ", i * i, "\n");
  const auto trained = [&](const std::string& text) {
    return data::train_sentencepiece(text, 300, "\n")->to_json();
  };
  const auto [mine, theirs, left, right] = GENERATE_COPY(values<Sample>({
      {text_of("\n"), text_of("\n\n"), "an end of document of 2 bytes",
       "an end of document of 1 bytes"},
      {text_of("\n"), "", "no tokenizer", "a tokenizer of the kind bytes"},
      {text_of("\n"), trained(words), "a tokenizer of the kind sentencepiece",
       "a tokenizer of the kind bytes"},
      {trained(words), trained(words + "another end\n"), "a tokenizer of the checksum ",
       "a tokenizer of the checksum "},
  }));
  auto worlds = comm::make_in_process_worlds(2);
  const auto failures = comm::testing::run_ranks(worlds, [&](comm::World& world) {
    const auto all = world.make_group(comm::everyone(world));
    const std::string prefix = folder.file(concat("of_rank_", world.rank()));
    const std::string& text = world.rank() == 0 ? mine : theirs;
    if (!text.empty()) base::atomic_write_file(prefix + ".tokenizer.json", text);
    config::Loaded loaded{tiny_config("llama"), {}};
    loaded.config.model.vocab_size = 1000;  // for them all
    loaded.config.data.train = {prefix};
    loaded.config.data.tokenizer = "auto";
    try {
      train::load_tokenizer(loaded, *all);
    } catch (const train::AgreedError& error) {
      CHECK(error.code() == kExitMismatch);
      throw;
    }
  });
  for (const std::string& failure : failures) {
    CHECK(failure.starts_with("rank 1 differs from rank 0 in its tokenizer: rank 1 has " + left));
    CHECK(failure.find(", rank 0 has " + right) != std::string::npos);
    CHECK(
        failure.ends_with("; all ranks must read the same files, on a file system that they share "
                          "or from equal copies"));
  }
}

TEST_CASE("threads are as configured, and too many of them mean shared cores", "[set_up]") {
  const std::vector<std::string> alone{base::core_set()};
  const int cores = base::share_cores(alone).front().cores;
  for (const auto& [threads, expected, shared] :
       {std::tuple{0, cores, false}, std::tuple{cores, cores, false},
        std::tuple{cores + 1, cores + 1, true}}) {
    config::Config config = tiny_config("llama");
    config.runtime.device = "cpu";
    config.runtime.threads = threads;
    const auto worlds = comm::make_in_process_worlds(1);
    const auto all = worlds[0]->make_group(comm::everyone(*worlds[0]));
    const train::Compute compute = train::connect_compute(plan_with(config), *worlds[0], *all);
    CHECK(compute.threads == expected);
    CHECK(compute.shared == shared);
  }
}

}  // namespace seq1f1b::testing

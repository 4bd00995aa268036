// What a run finds out before its first step: the tokenizer and the threads.
#include "core/train/set_up.h"
#include "core/base/cores.h"
#include "core/base/files.h"
#include "kernels/common/errors.h"
#include "tests/catch.h"
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

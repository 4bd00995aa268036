// What a run is trained on: told at the start, the same on all ranks, and the checkpoint's.
#include "core/train/open_data.h"

#include <mutex>

#include "core/base/files.h"
#include "core/comm/world.h"
#include "core/train/agreement.h"
#include "core/train/checkpoint_json.h"
#include "core/train/data_identity.h"
#include "tests/catch.h"
#include "tests/core/checkpoint/solo_group.h"
#include "tests/core/comm/rank_threads.h"
#include "tests/support/harness.h"
#include "tests/support/temporary_folder.h"

namespace seq1f1b::testing {
namespace {

using train::RunState;

// 20 documents of 47 tokens; `variant` changes one of them, `documents` how many there are.
void write_corpus(const std::string& prefix, int variant = 0, int documents = 20) {
  data::TokenFileWriter writer(prefix, 37);
  for (int document = 0; document < documents; ++document) {
    std::vector<std::int32_t> tokens(47, document % 37);
    if (document == 3) tokens[5] = 30 + variant;
    writer.add_document(tokens);
  }
  writer.finish();
}

class Fixture {
 public:
  Fixture() : folder(memory_parent()), config(tiny_config("llama")) {
    write_corpus(folder.file("a"));
    config.data.train = {folder.file("a")};
    config.data.split = "50,50,0";
    config.checkpoint.directory = folder.file("run");
  }
  // The state that a checkpoint of this configuration would give, trained for 3 steps.
  RunState trained() {
    RunState state;
    open(state);
    state.step = 3;
    state.consumed_samples = 12;
    state.consumed_tokens = 12 * 23;
    state.checkpoint = "step_00000003";
    state.extra = train::extra_json(config, {}, {}, state.data);
    return state;
  }
  std::unique_ptr<train::Samples> open(RunState& state) {
    SoloGroup alone;
    train::RunDirectory directory(config, 0);
    return train::open_data(config, tokenizer.get(), true, alone, state, directory);
  }
  // The exit code and message of opening after what find_state compares; 0 where all is well.
  std::pair<int, std::string> resume(RunState& state) {
    try {
      train::take_change(state, config, train::order_differences(state.extra, 0, config));
      open(state);
    } catch (const Error& error) {
      return {error.code(), error.what()};
    }
    return {kExitComplete, ""};
  }

  TemporaryFolder folder;
  config::Config config;
  std::unique_ptr<data::Tokenizer> tokenizer;  // as the run has found it
};

}  // namespace

TEST_CASE("the same data goes on, wherever it lies and however its split is spelled", "[data]") {
  Fixture fixture;
  RunState state = fixture.trained();
  std::filesystem::create_directory(fixture.folder.file("moved"));
  for (const char* ending : {".bin", ".idx"})
    std::filesystem::rename(fixture.folder.file("a") + ending,
                            fixture.folder.file("moved/b") + ending);
  fixture.config.data.train = {fixture.folder.file("moved/b")};
  fixture.config.data.split = "50, 50, 0.0";
  CHECK(fixture.resume(state) == std::pair<int, std::string>(kExitComplete, ""));
  CHECK(state.consumed_samples == 12);
  CHECK(state.data_change.empty());
}

TEST_CASE("other data than the checkpoint's is refused, or starts the samples anew", "[data]") {
  Fixture fixture;
  const std::string a = fixture.folder.file("a"), b = fixture.folder.file("b");
  const RunState trained = fixture.trained();
  std::string said;
  SECTION("another prefix") {
    write_corpus(b, 1, 7);
    fixture.config.data.train.push_back(b);
    said = "data.train: " + b + " (7 documents of 329 tokens) is new";
  }
  SECTION("one prefix less") {
    write_corpus(b, 1, 7);
    fixture.config.data.train = {b};
    said = "data.train: " + b + " (7 documents of 329 tokens) is new; " + a +
           " (20 documents of 940 tokens) is missing";
  }
  SECTION("prepared anew with more documents") {
    write_corpus(a, 0, 21);
    said = "data.train: " + a +
           " has 21 documents of 987 tokens, not 20 documents of 940 tokens as in the checkpoint";
  }
  SECTION("prepared anew with another token") {
    write_corpus(a, 2);
    said = "data.train: " + a + " has other contents than in the checkpoint";
  }
  SECTION("another length of samples") {
    fixture.config.training.seq_length = 20;
    said = "training.seq_length is 23 in the checkpoint and 20 in the configuration";
  }
  SECTION("another seed and split") {
    fixture.config.training.seed = 5;
    fixture.config.data.split = "60,40,0";
    said =
        "training.seed is 1234 in the checkpoint and 5 in the configuration; data.split is "
        "\"50,50,0\" in the checkpoint and \"60,40,0\" in the configuration";
  }
  RunState state = trained;
  const auto [code, why] = fixture.resume(state);
  CHECK(code == kExitConfiguration);
  CHECK(why.find("step_00000003 was trained on other samples: " + said + ". Documents would") == 0);
  CHECK(why.find("data.on_change: restart") != std::string::npos);
  CHECK(state.consumed_samples == 12);

  fixture.config.data.on_change = "restart";
  state = trained;
  CHECK(fixture.resume(state) == std::pair<int, std::string>(kExitComplete, ""));
  CHECK(state.step == 3);
  CHECK(state.consumed_samples == 0);
  CHECK(state.consumed_tokens == 12 * 23);
  CHECK(state.data_change == said);
  // The next checkpoint holds the new data: no further change, from one resume to the next.
  state.consumed_samples = 4;
  state.data_change.clear();
  state.extra = train::extra_json(fixture.config, {}, {}, state.data);
  CHECK(fixture.resume(state).first == kExitComplete);
  CHECK(state.consumed_samples == 4);
  CHECK(state.data_change.empty());
}

TEST_CASE("two prefixes that change places are another order", "[data]") {
  Fixture fixture;
  write_corpus(fixture.folder.file("b"), 1, 7);
  fixture.config.data.train.push_back(fixture.folder.file("b"));
  RunState state = fixture.trained();
  std::swap(fixture.config.data.train[0], fixture.config.data.train[1]);
  CHECK(fixture.resume(state).second.find(
            "data.train: the files are in another order than in the checkpoint") !=
        std::string::npos);
}

TEST_CASE("a checkpoint of version 0.1.0 is compared as far as it goes", "[data]") {
  Fixture fixture;
  RunState state = fixture.trained();
  state.extra = train::extra_json(fixture.config, {}, {}, "");
  CHECK(fixture.resume(state).first == kExitComplete);
  // Its samples had the length that its counts say.
  CHECK(train::order_differences(state.extra, 23, fixture.config).empty());
  CHECK(train::order_differences(state.extra, 32, fixture.config) ==
        "training.seq_length is 32 in the checkpoint and 23 in the configuration");
}

TEST_CASE("data that was prepared anew after its tokenizer was read is refused", "[data]") {
  Fixture fixture;
  const std::string a = fixture.folder.file("a");
  const auto prepare = [&](const char* separator) {
    data::TokenFileWriter writer(a, 257);
    for (int document = 0; document < 20; ++document)
      writer.add_document(std::vector<std::int32_t>(47, document));
    writer.finish(data::make_byte_tokenizer(separator).get());
  };
  fixture.config.model.vocab_size = 257;
  const auto refusal = [&] {
    RunState state;
    return message_of<train::AgreedError>([&] { fixture.open(state); });
  };
  const auto replaced = [&](const std::string& how) {
    return concat("data.train: the tokenizer of ", a, " was replaced while this run started (", how,
                  "): start it again when the preparation of the data is done");
  };
  prepare("\n");
  CHECK(refusal() == replaced("there was none, and is one"));
  fixture.tokenizer = data::make_byte_tokenizer("\n");
  CHECK(refusal() == "(nothing was thrown)");
  prepare("\n\n");
  CHECK(refusal() == replaced(R"(document_separator: "\n" and "\n\n")"));
  std::filesystem::remove(a + ".tokenizer.json");
  CHECK(refusal() == replaced("there was one, and is none"));
  // A tokenizer that is configured needs no file beside the data.
  fixture.config.data.tokenizer = fixture.folder.file("tokenizer.json");
  base::atomic_write_file(fixture.config.data.tokenizer, fixture.tokenizer->to_json());
  CHECK(refusal() == "(nothing was thrown)");
}

TEST_CASE("ranks that see different data end alike", "[data]") {
  Fixture fixture;
  write_corpus(fixture.folder.file("b"), 1);
  // Rank 1 reads nothing, rank 2 something else under the same name.
  auto worlds = comm::make_in_process_worlds(3);
  std::mutex mutex;
  std::vector<int> codes;
  const auto failures = comm::testing::run_ranks(worlds, [&](comm::World& world) {
    const auto all = world.make_group(comm::everyone(world));
    config::Config config = fixture.config;
    if (world.rank() == 2) config.data.train = {fixture.folder.file("b")};
    train::RunDirectory directory(config, world.rank());
    RunState state;
    try {
      train::open_data(config, nullptr, world.rank() != 1, *all, state, directory);
    } catch (const train::AgreedError& error) {
      const std::lock_guard lock(mutex);
      codes.push_back(error.code());
      throw;
    }
  });
  CHECK(codes == std::vector<int>(3, kExitMismatch));
  for (const std::string& failure : failures)
    CHECK(failure.find("rank 2 sees other data than rank 0: data.train: ") == 0);
}

TEST_CASE("all ranks know what is read, and a file that cannot be read is told by all", "[data]") {
  Fixture fixture;
  auto worlds = comm::make_in_process_worlds(2);
  std::mutex mutex;
  std::vector<std::string> known;
  const auto run = [&] {
    return comm::testing::run_ranks(worlds, [&](comm::World& world) {
      const auto all = world.make_group(comm::everyone(world));
      train::RunDirectory directory(fixture.config, world.rank());
      RunState state;
      const auto samples =
          train::open_data(fixture.config, nullptr, world.rank() == 1, *all, state, directory);
      const std::lock_guard lock(mutex);
      CHECK((samples != nullptr) == (world.rank() == 1));
      known.push_back(state.data);
    });
  };
  CHECK(run() == std::vector<std::string>(2));
  REQUIRE(known.size() == 2);
  CHECK(known[0] == known[1]);
  CHECK(known[0].find("{\"seq_length\":23,\"files\":[{\"prefix\":\"" +
                      fixture.config.data.train[0] +
                      "\",\"documents\":20,\"tokens\":940,\"idx_xxh3_64\":\"") == 0);
  fixture.config.model.vocab_size = 20;
  worlds = comm::make_in_process_worlds(2);
  for (const std::string& failure : run())
    CHECK(failure.find(" in a vocabulary of 20; was the file made with another tokenizer?") !=
          std::string::npos);
}

}  // namespace seq1f1b::testing

#include "core/train/save_trial.h"

#include <future>

#include "core/comm/world.h"
#include "core/train/agreement.h"
#include "tests/catch.h"
#include "tests/support/temporary_folder.h"

using namespace seq1f1b;
using namespace seq1f1b::testing;

namespace {

namespace fs = std::filesystem;

// What each rank throws where it saves into a folder of its own.
std::vector<std::string> refusals(const std::vector<std::string>& folders) {
  auto worlds = comm::make_in_process_worlds(static_cast<int>(folders.size()));
  const auto rank_main = [&](std::size_t rank) {
    const auto all = worlds[rank]->make_group(comm::everyone(*worlds[rank]));
    return message_of<train::AgreedError>([&] { train::try_saving(folders[rank], *all); });
  };
  std::vector<std::future<std::string>> others;
  for (std::size_t rank = 1; rank < folders.size(); ++rank)
    others.push_back(std::async(std::launch::async, rank_main, rank));
  std::vector<std::string> texts{rank_main(0)};
  for (auto& other : others) texts.push_back(other.get());
  return texts;
}

const std::string kNothing = "(nothing was thrown)";

std::string checkpoints(const std::string& run) { return run + "/checkpoints"; }

config::CheckpointConfig keeping(std::int64_t interval, int last, std::int64_t every = 0) {
  config::CheckpointConfig config;
  config.save_interval = interval;
  config.keep_last = last;
  config.keep_every = every;
  return config;
}

}  // namespace

TEST_CASE("a folder that all ranks share takes their trial, of which nothing stays", "[train]") {
  const TemporaryFolder run;
  // Also of one that was killed.
  fs::create_directories(checkpoints(run.path()) + "/.tmp-step_00000000/left");
  CHECK(refusals({run.path(), run.path(), run.path()}) == std::vector<std::string>(3, kNothing));
  CHECK(fs::is_empty(checkpoints(run.path())));
  CHECK(refusals({run.path()}) == std::vector<std::string>{kNothing});
}

TEST_CASE("ranks that do not share the run directory are named before the first step", "[train]") {
  const TemporaryFolder run, other;
  const auto texts = refusals({run.path(), other.path(), run.path(), other.path()});
  for (const std::string& text : texts) {
    CHECK(text.find(" is not shared: rank 1 (") != std::string::npos);
    CHECK(text.find("), rank 3 (") != std::string::npos);
    CHECK(text.find("rank 2") == std::string::npos);
  }
  CHECK(fs::is_empty(checkpoints(run.path())));
  CHECK(other.entries() == 0);
}

TEST_CASE("a run directory that takes no files is refused by all ranks", "[train]") {
  const TemporaryFolder run;
  write_bytes(run.file("checkpoints"), "a file");
  const auto texts = refusals({run.path(), run.path()});
  CHECK(texts[0] == texts[1]);
  CHECK(texts[0].starts_with("the run directory does not take checkpoints: rank 0 ("));
  CHECK(texts[0].find("Not a directory") != std::string::npos);
}

TEST_CASE("the places that checkpoints take at most", "[train]") {
  constexpr std::int64_t kEver = std::int64_t{1} << 62;
  struct Sample {
    config::CheckpointConfig config;
    std::int64_t step, iters, existing, rolling, all;
  };
  const auto sample = GENERATE(values<Sample>({
      {keeping(0, 3), 0, 100, 0, 1, 1},       // only the end is saved
      {keeping(10, 3), 0, 100, 0, 4, 4},      // three, and one being written
      {keeping(10, 3), 80, 100, 0, 2, 2},     // that many are still to come
      {keeping(10, 3), 50, 100, 2, 2, 2},     // two lie there
      {keeping(10, 3), 50, 100, 9, 1, 1},     // the one being written
      {keeping(30, 9), 0, 100, 0, 4, 4},      // 30, 60, 90 and the end
      {keeping(10, 0), 0, 100, 0, 1, 10},     // all stay
      {keeping(10, 1, 20), 0, 100, 0, 2, 7},  // 20, 40 ... 100 stay
      {keeping(10, 1, 15), 0, 100, 0, 2, 5},  // 30, 60, 90 stay
      {keeping(30, 1, 50), 0, 100, 0, 2, 3},  // the end stays
      // 2^64 + 1, which is 1 where numbers wrap, is the first step that the two have in common.
      {keeping(274'177, 1, 67'280'421'310'721), 0, 1'000'000'000'000'000, 0, 2, 2},
      {keeping(kEver - 1, 1, kEver - 2), 0, kEver, 0, 2, 2},
      {keeping(kEver, 1, kEver), 0, kEver, 0, 1, 1},
      {keeping(-1, 3), 0, 100, 0, 0, 0},
      {keeping(10, 3), 100, 100, 1, 0, 0},
  }));
  const train::Places places =
      train::places(sample.config, sample.step, sample.iters, sample.existing);
  CAPTURE(sample.config.save_interval, sample.config.keep_last, sample.config.keep_every,
          sample.step, sample.existing);
  CHECK(places.rolling == sample.rolling);
  CHECK(places.all == sample.all);
}

TEST_CASE("a disk too small for the checkpoints is refused with both numbers", "[train]") {
  const auto problem = [](const config::CheckpointConfig& config, std::uint64_t free) {
    return train::room_problem(config, train::places(config, 0, 100, 0), 1 << 20, free, "RUN");
  };
  CHECK(problem(keeping(10, 3), 4 << 20) == "");
  CHECK(message_of<DataError>([&] { problem(keeping(10, 3), (4 << 20) - 1); })
            .starts_with("disk too full for RUN: 4 checkpoints of 1.00 MiB need 4.00 MiB, 4.00 MiB "
                         "free (checkpoint.keep_last 3, and one being written)"));
  // A run whose checkpoints somebody may take away meanwhile goes on, and says so.
  CHECK(problem(keeping(10, 0), 2 << 20)
            .starts_with("the disk will be full before the end: 10 checkpoints of 1.00 MiB need "
                         "10.0 MiB, 2.00 MiB free in RUN"));
  CHECK_THROWS_AS(problem(keeping(10, 0), 1000), DataError);
}

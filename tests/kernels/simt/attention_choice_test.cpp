// runtime.attention: auto, with two ranks in one process on the emulated device, a library of
// attention beside its own kernels, and a clock that says what the test wants.
#include "core/runtime/attention_choice.h"

#include <functional>

#include "kernels/ops.h"
#include "kernels/simt/emulated_backend.h"
#include "tests/catch.h"
#include "tests/core/comm/rank_threads.h"
#include "tests/support/forwarding_device.h"
#include "tests/support/harness.h"

namespace seq1f1b::testing {
namespace {

using kernels::AttentionProvider;
using runtime::AttentionChoice;
using simt::EmulatedAttentionLog;

// Time passes where a stamp says so: a second for the device's own kernels, `library(keys)` seconds
// where the library was called since the stamp before.
class ClockDevice final : public ForwardingDevice {
 public:
  ClockDevice(std::unique_ptr<kernels::Device> inner, std::shared_ptr<EmulatedAttentionLog> log,
              std::function<double(std::int64_t)> library)
      : ForwardingDevice(std::move(inner)), log_(std::move(log)), library_(std::move(library)) {}
  void stamp(int index) override {
    ++stamps;
    (index == 0 ? begin_ : end_) = log_->calls;
  }
  double seconds_between(int, int) override {
    return end_ > begin_ ? library_(log_->last_keys) : 1.0;
  }
  int stamps = 0;

 private:
  std::shared_ptr<EmulatedAttentionLog> log_;
  std::function<double(std::int64_t)> library_;
  std::int64_t begin_ = 0, end_ = 0;
};

config::Config choosing_config() {
  config::Config config = tiny_config("llama");
  config.model.num_layers = 2;
  config.model.num_attention_heads = 2;
  config.model.num_query_groups = 1;
  config.model.kv_channels = 8;
  config.training.seq_length = 24;
  config.schedule.name = "seq1f1b";
  config.schedule.segments = 3;
  config.schedule.partition = "even";
  config.parallel.pipeline_model_parallel_size = 2;
  config.runtime.device = "cuda";
  config.runtime.compute_dtype = "bf16";
  config.runtime.attention = "auto";
  return config;
}

// One rank's part of a trial: what its library and its clock are like, and what came of it.
struct Rank {
  std::function<double(std::int64_t)> library = [](std::int64_t) { return 0.5; };
  std::int64_t most_keys = 1000;
  bool has_library = true;
  std::size_t reserved_bytes = 0;

  AttentionChoice choice;
  std::vector<std::string> notes;
  int stamps = 0;
  std::set<std::pair<std::int64_t, std::int64_t>> held;
  std::vector<bool> by_library;  // of a call afterwards, by segment
};

// Chooses on two ranks with no more memory than a stage's plan has.
void choose_on(const config::Config& config, std::vector<Rank>& ranks,
               const std::optional<AttentionChoice>& stored = {}) {
  const plan::JobPlan job = plan_with(config);
  auto worlds = comm::make_in_process_worlds(2);
  const auto failures = comm::testing::run_ranks(worlds, [&](comm::World& world) {
    Rank& rank = ranks[static_cast<std::size_t>(world.rank())];
    const auto log = std::make_shared<EmulatedAttentionLog>();
    simt::EmulatedOptions options{.compute = kernels::Dtype::kBf16, .graphs = false};
    if (rank.has_library) options.attention = {.most_keys = rank.most_keys, .log = log};
    kernels::Backend backend = simt::make_emulated_backend(options);
    auto clock = std::make_unique<ClockDevice>(std::move(backend.device), log, rank.library);
    const ClockDevice& seen = *clock;
    backend.device = std::move(clock);
    const plan::RankPlan plan = plan::plan_rank(job, world.rank());
    const kernels::DeviceBuffer scratch(*backend.device, plan.scratch);
    const kernels::DeviceBuffer idle(*backend.device, plan.activations());
    backend.ops->use_scratch(scratch.data(), scratch.bytes());
    const auto all = world.make_group(std::vector<int>{0, 1});
    rank.choice = runtime::choose_attention(job, backend, *all, {idle.data(), idle.bytes()},
                                            rank.reserved_bytes, stored, rank.notes);
    rank.stamps = seen.stamps;
    rank.held = log->held;
    std::byte* next = idle.data();
    const auto take = [&](kernels::Dtype dtype, std::initializer_list<std::int64_t> shape) {
      const kernels::Tensor tensor(next, dtype, shape);
      next += (tensor.bytes() + 255) / 256 * 256;
      return tensor;
    };
    const kernels::Dtype bf16 = kernels::Dtype::kBf16;
    const auto query = take(bf16, {1, 8, 2, 8}), output = take(bf16, {1, 8, 2, 8}),
               key = take(bf16, {1, 1, 24, 8}), value = take(bf16, {1, 1, 24, 8}),
               log_sum_exp = take(kernels::Dtype::kF32, {1, 2, 8});
    for (const auto& tensor : {query, key, value}) backend.ops->fill(tensor, 1);
    for (const std::int64_t keys : {8, 16, 24}) {
      const std::int64_t before = log->calls;
      backend.ops->attention_forward(query, key, value, {keys - 8, 0, keys, nullptr}, 1, output,
                                     log_sum_exp);
      rank.by_library.push_back(log->calls > before);
    }
    backend.device->synchronize();
  });
  for (const std::string& failure : failures) REQUIRE(failure == "");
}

std::vector<bool> library_of(const AttentionChoice& choice) {
  std::vector<bool> chosen;
  for (const auto& length : choice.lengths)
    chosen.push_back(length.provider == AttentionProvider::kLibrary);
  return chosen;
}

using Chosen = std::vector<bool>;

}  // namespace

TEST_CASE("for every length the faster one by rank 0's clock is used on all ranks", "[attention]") {
  std::vector<Rank> ranks(2);
  ranks[0].library = [](std::int64_t keys) { return keys == 8 ? 0.5 : keys == 16 ? 2.0 : 1.0; };
  ranks[1].library = [](std::int64_t keys) { return keys == 16 ? 0.25 : 4.0; };
  choose_on(choosing_config(), ranks);
  const auto& lengths = ranks[0].choice.lengths;
  REQUIRE(lengths.size() == 3);
  CHECK(lengths[1].tokens == 8);
  CHECK(lengths[1].keys == 16);
  CHECK(lengths[1].own_seconds == 1.0);
  CHECK(lengths[1].library_seconds == 2.0);
  CHECK(ranks[0].choice == ranks[1].choice);
  CHECK(ranks[1].stamps == 0);
  for (const Rank& rank : ranks) {
    // A draw is our own kernels'.
    CHECK(library_of(rank.choice) == Chosen{true, false, false});
    CHECK(rank.by_library == Chosen{true, false, false});
    CHECK(rank.held == std::set<std::pair<std::int64_t, std::int64_t>>{{8, 8}});
    CHECK(rank.notes.empty());
  }
  CHECK(runtime::attention_summary(ranks[0].choice) ==
        "cuDNN for 1 of 3 lengths; a layer of all that were timed takes 3e+03 ms by our own "
        "kernels, 3.5e+03 ms by cuDNN");
}

TEST_CASE("what one rank's library refuses none uses, and it is not timed", "[attention]") {
  std::vector<Rank> ranks(2);
  ranks[1].most_keys = 16;
  choose_on(choosing_config(), ranks);
  for (const Rank& rank : ranks) {
    CHECK(rank.by_library == Chosen{true, true, false});
    CHECK(rank.choice.lengths[2].refusal == "rank 1: the emulated library does at most 16 keys");
    CHECK(rank.choice.lengths[2].own_seconds == 0);
    CHECK(rank.held == std::set<std::pair<std::int64_t, std::int64_t>>{{8, 8}, {8, 16}});
  }
  // A library that takes memory which is needed later is none, either.
  std::vector<Rank> full(2);
  full[0].reserved_bytes = std::size_t{1} << 40;
  choose_on(choosing_config(), full);
  CHECK(full[1].by_library == Chosen{false, false, false});
  CHECK(full[1].choice.lengths[0].refusal.starts_with("rank 0: it leaves "));
  CHECK(full[1].held.empty());
}

TEST_CASE("without a library on some rank all is computed by our own kernels", "[attention]") {
  std::vector<Rank> ranks(2);
  ranks[1].has_library = false;
  choose_on(choosing_config(), ranks);
  for (const Rank& rank : ranks) {
    CHECK(rank.by_library == Chosen{false, false, false});
    CHECK(rank.stamps == 0);
  }
  CHECK(runtime::attention_summary(ranks[0].choice) ==
        "cuDNN for 0 of 3 lengths; rank 1: no library of attention was asked for");
}

TEST_CASE("a choice is reused where it fits, whatever the clock says now", "[attention]") {
  const config::Config config = choosing_config();
  std::vector<Rank> before(2);
  before[0].library = [](std::int64_t keys) { return keys == 16 ? 0.5 : 2.0; };
  choose_on(config, before);
  const AttentionChoice stored = before[0].choice;

  std::vector<Rank> again(2);  // now the library is faster for all
  choose_on(config, again, stored);
  for (const Rank& rank : again) {
    CHECK(rank.choice == stored);
    CHECK(rank.by_library == Chosen{false, true, false});
    CHECK(rank.stamps == 0);
    CHECK(rank.notes ==
          std::vector<std::string>{"attention as the run chose it before its checkpoint"});
  }

  std::vector<Rank> poorer(2);  // the library has gone
  poorer[1].has_library = false;
  choose_on(config, poorer, stored);
  CHECK(poorer[0].by_library == Chosen{false, false, false});
  REQUIRE(poorer[0].notes.size() == 2);
  CHECK(poorer[0].notes[1] ==
        "attention of 8 tokens over 16 keys was cuDNN's in the checkpoint's run and is our own "
        "kernels' now, with other bits: rank 1: no library of attention was asked for");

  config::Config other = config;  // other lengths and another micro-batch: measured anew
  other.training.micro_batch_size = 2;
  other.training.global_batch_size = 4;
  other.schedule.segments = 2;
  other.schedule.alignment = 4;
  AttentionChoice elsewhere = runtime::attention_of(plan_with(other), stored.circumstances.device);
  CHECK(runtime::attention_differences(stored, elsewhere) ==
        "for micro-batches of 1, not 2, for segments of 8+8+8, not 12+12");
  elsewhere.circumstances = stored.circumstances;
  elsewhere.circumstances.device = "another GPU";
  elsewhere.circumstances.deterministic = false;
  elsewhere.lengths = stored.lengths;
  std::vector<Rank> anew(2);
  choose_on(config, anew, elsewhere);
  CHECK(anew[0].by_library == Chosen{true, true, true});
  CHECK(anew[0].stamps > 0);
  REQUIRE(anew[0].notes.size() == 1);
  CHECK(anew[0].notes[0] ==
        "attention is chosen anew: the checkpoint's choice was made on another GPU, not " +
            stored.circumstances.device + ", for sums in any order, not in a fixed one");
}

TEST_CASE("a device without a library takes no choice of it", "[attention]") {
  kernels::Backend backend = simt::make_emulated_backend({});
  CHECK(backend.ops->attention_library_refusal() == "no library of attention was asked for");
  backend.ops->choose_attention(8, 8, AttentionProvider::kOwn);
  CHECK_THROWS_AS(backend.ops->choose_attention(8, 8, AttentionProvider::kLibrary), InternalError);
  const kernels::Backend host = kernels::make_reference_backend();
  CHECK(host.ops->attention_library_refusal() == "this device has one implementation of attention");
  CHECK_THROWS_AS(host.ops->choose_attention(8, 8, AttentionProvider::kLibrary), InternalError);
}

}  // namespace seq1f1b::testing

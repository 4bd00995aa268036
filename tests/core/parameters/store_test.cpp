// Where weights, gradients, masters and moments lie, and how weights follow their masters.
#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "core/parameters/initialise.h"
#include "kernels/common/bf16.h"
#include "kernels/ops.h"
#include "tests/catch.h"
#include "tests/support/harness.h"

namespace seq1f1b::testing {
namespace {

using kernels::Dtype;
using parameters::Purpose;
using parameters::Store;

parameters::Layout every_row(const std::string& family) {
  return {model::parameter_table(model::model_spec(tiny_config(family).model)),
          [](const parameters::Use&) { return true; }};
}

// A store with memory of its own.
struct Owned {
  kernels::Backend backend;
  kernels::DeviceBuffer memory;
  Store store;

  Owned(On on, const parameters::Layout& layout, Purpose purpose,
        const std::optional<parameters::Range>& updated = {})
      : backend(make_backend(on)),
        memory(*backend.device, parameters::store_bytes(layout, backend.compute, backend.accumulate,
                                                        purpose, updated)
                                    .total()),
        store(layout, backend.compute, backend.accumulate, purpose, memory.data(), updated) {
    std::memset(memory.data(), 0xA5, memory.bytes());
  }
  void initialise(std::uint64_t seed) {
    parameters::initialise(store, seed, *backend.device, *backend.ops);
  }
};

}  // namespace

TEST_CASE("masters are counted where weights are narrower, and only for training", "[parameters]") {
  const parameters::Layout layout = every_row("llama");
  const auto elements = static_cast<std::size_t>(layout.elements());
  const auto half = parameters::store_bytes(layout, Dtype::kBf16, Dtype::kF32, Purpose::kTraining);
  CHECK(half.weights / 256 == (2 * elements + 255) / 256);
  CHECK(half.masters / 256 == (4 * elements + 255) / 256);
  CHECK(half.moments / 256 == (8 * elements + 255) / 256);
  CHECK(half.total() == half.weights + half.gradients + half.masters + half.moments);
  const auto full = parameters::store_bytes(layout, Dtype::kF32, Dtype::kF32, Purpose::kTraining);
  CHECK(full.masters == 0);
  CHECK(full.gradients == half.gradients);
  const auto read_only =
      parameters::store_bytes(layout, Dtype::kBf16, Dtype::kF32, Purpose::kInference);
  CHECK(read_only.total() == half.weights);
}

TEST_CASE("no tensor of a store lies on another's bytes", "[parameters]") {
  for (const std::string family : {"gpt3", "llama"})
    for (On on : {On::kReferenceBf16, On::kReferenceFloat}) {
      Owned owned(on, every_row(family), Purpose::kTraining);
      const Store& store = owned.store;
      CHECK(store.has_masters() == (on == On::kReferenceBf16));
      std::vector<int> users(owned.memory.bytes());
      const auto mark = [&](const kernels::Tensor& tensor) {
        const std::size_t first =
            static_cast<std::size_t>(tensor.as<std::byte>() - owned.memory.data());
        REQUIRE(first + tensor.bytes() <= users.size());
        for (std::size_t i = 0; i < tensor.bytes(); ++i) ++users[first + i];
      };
      for (const auto& row : store.layout().rows()) {
        mark(store.weight(row));
        for (std::size_t use = 0; use < row.uses.size(); ++use) mark(store.gradient(row, use));
        if (store.has_masters()) mark(store.master(row));
        mark(store.first_moment(row));
        mark(store.second_moment(row));
        CHECK(store.parameter(row).dtype == Dtype::kF32);
        CHECK((store.parameter(row).data == store.weight(row).data) == !store.has_masters());
      }
      CHECK(*std::max_element(users.begin(), users.end()) == 1);
    }
}

TEST_CASE("rows are aligned, but for those that are one operand with the row before",
          "[parameters]") {
  // Rows of 3 and 5 elements, of which the second and third are fused.
  parameters::Table table(4);
  for (std::size_t i = 0; i < table.size(); ++i) {
    table[i].name = concat("row", i);
    table[i].shape = {i < 2 ? 3 : 5};
    table[i].uses = {{}};
    table[i].fused_with_previous = i == 1 || i == 2;
  }
  const parameters::Layout layout(table, [](const parameters::Use&) { return true; });
  const auto rows = layout.rows();
  CHECK(rows[1].offset == 3);
  CHECK(rows[2].offset == 6);
  CHECK(rows[3].offset == parameters::kRowAlignment);
  CHECK(layout.elements() == 2 * parameters::kRowAlignment);
}

TEST_CASE("shards and buckets cover a layout exactly once, between rows and anywhere",
          "[parameters]") {
  const parameters::Table table =
      model::parameter_table(model::model_spec(tiny_config("llama").model));
  const auto everywhere = [](const parameters::Use&) { return true; };
  const parameters::Layout one(table, everywhere);
  for (const int shards : {1, 2, 3, 5}) {
    const parameters::Layout layout(table, everywhere, shards);
    CHECK(layout.elements() - one.elements() < shards * parameters::kRowAlignment);
    std::int64_t next = 0;
    std::vector<std::int64_t> covered(layout.rows().size());
    for (int index = 0; index < shards; ++index) {
      const parameters::Range shard = layout.shard(index);
      CHECK(shard.first == next);
      CHECK(shard.count == layout.shard(0).count);
      CHECK(shard.first % parameters::kRowAlignment == 0);
      next = shard.end();
      for (const parameters::Piece& piece : layout.pieces(shard)) {
        CHECK(piece.first == covered[piece.row]);
        covered[piece.row] += piece.count;
      }
    }
    CHECK(next == layout.elements());
    for (std::size_t i = 0; i < covered.size(); ++i) {
      CHECK(covered[i] == layout.rows()[i].info.elements());
      CHECK(layout.rows()[i].offset == one.rows()[i].offset);
    }

    const auto buckets = layout.buckets(1000);
    REQUIRE(buckets.size() > 3);
    std::int64_t end = layout.elements();
    for (const parameters::Range& bucket : buckets) {
      CHECK(bucket.end() == end);
      if (bucket.first > 0) CHECK(bucket.count >= 1000);
      end = bucket.first;
      for (const parameters::Piece& piece : layout.pieces(bucket))
        CHECK(piece.count == layout.rows()[piece.row].info.elements());
      const auto first = layout.pieces(bucket).front().row;
      CHECK_FALSE(layout.rows()[first].info.fused_with_previous);
    }
    CHECK(end == 0);
    CHECK(layout.buckets(1 << 30) == std::vector{layout.whole()});
  }
}

TEST_CASE("of all replicas exactly one counts an element, and one writes it", "[parameters]") {
  const parameters::Table table =
      model::parameter_table(model::model_spec(tiny_config("gpt3").model));
  // The stage with the head alone: it holds the tied tensor, and does not answer for it.
  const auto at_the_end = [](const parameters::Use& use) {
    return use.site != parameters::Site::kEmbedding;
  };
  for (const int shards : {1, 3}) {
    const parameters::Layout layout(table, at_the_end, shards);
    std::vector<int> counts(static_cast<std::size_t>(layout.elements())), writes(counts);
    int counting = 0;
    for (int index = 0; index < 3; ++index) {
      const parameters::Replica replica{index, 3};
      const auto mark = [&](const std::vector<parameters::Piece>& pieces, std::vector<int>& all) {
        for (const parameters::Piece& piece : pieces)
          for (std::int64_t i = 0; i < piece.count; ++i)
            ++all[static_cast<std::size_t>(layout.rows()[piece.row].offset + piece.first + i)];
      };
      mark(layout.counts_in_norm(replica), counts);
      mark(layout.writes(replica), writes);
      if (!layout.counts_in_norm(replica).empty()) ++counting;
      CHECK_FALSE(layout.writes(replica).empty());  // the work of writing is shared
    }
    CHECK(counting == shards);
    CHECK(counts == writes);
    for (const auto& row : layout.rows()) {
      const bool tied = row.info.name == "embedding.token.weight";
      for (std::int64_t i = 0; i < row.info.elements(); ++i)
        if (counts[static_cast<std::size_t>(row.offset + i)] != (tied ? 0 : 1)) FAIL(row.info.name);
    }
  }
}

TEST_CASE("a store of a shard begins as the whole one, and holds the shard's masters and moments",
          "[parameters]") {
  for (const On on : {On::kReferenceBf16, On::kReferenceFloat}) {
    const parameters::Layout layout(
        model::parameter_table(model::model_spec(tiny_config("gpt3").model)),
        [](const parameters::Use&) { return true; }, 3);
    Owned whole(on, layout, Purpose::kTraining);
    whole.initialise(5);
    for (int index = 0; index < 3; ++index) {
      Owned shard(on, layout, Purpose::kTraining, layout.shard(index));
      shard.initialise(5);
      CHECK(parameters::store_bytes(layout, shard.backend.compute, shard.backend.accumulate,
                                    Purpose::kTraining, layout.shard(index))
                .moments < 2 * sizeof(float) * static_cast<std::size_t>(layout.elements()) / 2);
      const auto same = [](const kernels::Tensor& a, const kernels::Tensor& b) {
        return a.bytes() == b.bytes() && std::memcmp(a.data, b.data, a.bytes()) == 0;
      };
      for (const auto& row : layout.rows())
        CHECK(same(shard.store.weight(row), whole.store.weight(row)));
      for (const parameters::Piece& piece : layout.pieces(layout.shard(index))) {
        CHECK(same(shard.store.parameter(piece), whole.store.parameter(piece)));
        CHECK(same(shard.store.first_moment(piece), whole.store.first_moment(piece)));
        CHECK(same(shard.store.second_moment(piece), whole.store.second_moment(piece)));
      }
    }
  }
}

TEST_CASE("a store begins with the values of its rows and without moments", "[parameters]") {
  Owned owned(On::kReference, every_row("gpt3"), Purpose::kTraining);
  owned.initialise(9);
  std::size_t wrong = 0;
  for (const auto& row : owned.store.layout().rows())
    for (std::int64_t i = 0; i < row.info.elements(); ++i) {
      if (owned.store.weight(row).as<double>()[i] != parameters::initial_value(row.info, 9, i))
        ++wrong;
      if (owned.store.first_moment(row).as<double>()[i] != 0) ++wrong;
      if (owned.store.second_moment(row).as<double>()[i] != 0) ++wrong;
    }
  CHECK(wrong == 0);
}

TEST_CASE("bf16 weights start as fp32 ones rounded, with and without masters", "[parameters]") {
  const parameters::Layout layout = every_row("gpt3");
  Owned half(On::kReferenceBf16, layout, Purpose::kTraining);
  Owned full(On::kReferenceFloat, layout, Purpose::kTraining);
  Owned reader(On::kReferenceBf16, layout, Purpose::kInference);
  for (Owned* owned : {&half, &full, &reader}) owned->initialise(5);
  std::size_t wrong = 0, inexact = 0;
  for (const auto& row : layout.rows()) {
    const auto* exact = full.store.weight(row).as<const float>();
    const auto* master = half.store.master(row).as<const float>();
    for (std::int64_t i = 0; i < row.info.elements(); ++i) {
      const kernels::Bf16 rounded(exact[i]);
      if (master[i] != exact[i]) ++wrong;
      if (half.store.weight(row).as<const kernels::Bf16>()[i].bits != rounded.bits) ++wrong;
      if (reader.store.weight(row).as<const kernels::Bf16>()[i].bits != rounded.bits) ++wrong;
      if (static_cast<float>(rounded) != exact[i]) ++inexact;
    }
  }
  CHECK(wrong == 0);
  CHECK(inexact > 1000);
}

TEST_CASE("the number of threads that draw the weights changes none of them", "[parameters]") {
  config::Config config = tiny_config("llama");
  config.model.vocab_size = 8192;  // times a hidden size of 16 or more: pieces for several threads
  const parameters::Layout layout{model::parameter_table(model::model_spec(config.model)),
                                  [](const parameters::Use&) { return true; }};
  REQUIRE(layout.elements() > 8 * 16384);
  Owned one(On::kReferenceFloat, layout, Purpose::kTraining);
  Owned five(On::kReferenceFloat, layout, Purpose::kTraining);
  one.initialise(7);
  parameters::initialise(five.store, 7, *five.backend.device, *five.backend.ops, 5);
  std::size_t wrong = 0;
  for (const parameters::LocalParameter& row : layout.rows()) {
    const auto bytes = one.store.parameter(row).bytes();
    if (std::memcmp(one.store.parameter(row).data, five.store.parameter(row).data, bytes) != 0)
      ++wrong;
  }
  CHECK(wrong == 0);
}

TEST_CASE("device and compute type give the precision of a plan", "[parameters]") {
  const auto precision = [](const char* device, const char* dtype) {
    config::Config config = tiny_config("llama");
    config.runtime.device = device;
    config.runtime.compute_dtype = dtype;
    const model::Precision found = plan_with(config).precision;
    return std::pair(found.compute, found.accumulate);
  };
  CHECK(precision("cpu", "auto") == std::pair(Dtype::kF32, Dtype::kF32));
  CHECK(precision("reference", "auto") == std::pair(Dtype::kF64, Dtype::kF64));
  CHECK(precision("reference", "fp32") == std::pair(Dtype::kF32, Dtype::kF32));
  CHECK(precision("reference", "bf16") == std::pair(Dtype::kBf16, Dtype::kF32));
}

}  // namespace seq1f1b::testing

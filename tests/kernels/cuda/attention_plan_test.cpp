// The host arithmetic of attention on CUDA: masks, the order of blocks, splits and their scratch.
#include <algorithm>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "kernels/cuda/attention/attention_choice.h"
#include "kernels/cuda/attention/attention_library.h"
#include "kernels/cuda/attention/attention_mask.h"
#include "kernels/cuda/attention/attention_sm80.h"
#include "kernels/cuda/attention/attention_sm90_tiles.h"
#include "kernels/cuda/attention/scratch_attention.h"
#include "kernels/cuda/attention/tensor_map.h"
#include "tests/catch.h"

namespace seq1f1b::kernels::cuda {
namespace {

// The contract of kernels/ops.h in its own words: positions, not rows.
bool sees(const AttentionShape& shape, int sequence, int query, int key) {
  const int position = shape.query_start + query, key_position = shape.key_start + key;
  const int start =
      shape.document_start ? shape.document_start[sequence * shape.tokens + query] : 0;
  return key < shape.key_length && start <= key_position && key_position <= position;
}

// A random problem with documents; `starts` backs its document starts.
AttentionShape draw(std::mt19937& random, std::vector<std::int32_t>& starts) {
  const auto up_to = [&](int most) { return static_cast<int>(random() % (most + 1u)); };
  AttentionShape shape;
  shape.micro_batch = 2;
  shape.tokens = 1 + up_to(50);
  shape.query_start = up_to(60);
  shape.key_start = up_to(1) * up_to(shape.query_start);
  // Keys may go on behind the last query.
  shape.key_length = shape.query_start + shape.tokens - shape.key_start + up_to(1) * up_to(9);
  starts.clear();
  for (int sequence = 0; sequence < 2; ++sequence) {
    int start = up_to(shape.query_start);
    for (int i = 0; i < shape.tokens; ++i) {
      if (up_to(9) == 0) start = shape.query_start + i - up_to(std::min(i, 1));
      starts.push_back(start);
    }
  }
  shape.document_start = up_to(3) ? starts.data() : nullptr;
  return shape;
}

}  // namespace

TEST_CASE("the mask's bounds are those of the contract, for tiles of any size") {
  std::mt19937 random(1);
  std::vector<std::int32_t> starts;
  for (int trial = 0; trial < 400; ++trial) {
    const AttentionShape shape = draw(random, starts);
    const int sequence = trial % 2;
    const AttentionMask mask(shape, sequence);
    for (int i = 0; i < shape.tokens; ++i)
      for (int j = 0; j < shape.key_length; ++j)
        REQUIRE((j >= mask.first_key(i) && j < mask.last_key(i)) == sees(shape, sequence, i, j));

    const int queries = 1 + static_cast<int>(random() % 20),
              keys = 1 + static_cast<int>(random() % 20);
    for (int i = 0; i < shape.tokens; i += queries) {
      const TileRange tiles = mask.key_tiles(i, queries, keys);
      REQUIRE((tiles.begin >= 0 && tiles.end <= (shape.key_length + keys - 1) / keys));
      for (int j = 0; j < shape.key_length; j += keys) {
        bool any = false, all = j + keys <= shape.key_length;
        for (int q = i; q < std::min(i + queries, shape.tokens); ++q)
          for (int k = j; k < std::min(j + keys, shape.key_length); ++k) {
            any |= sees(shape, sequence, q, k);
            all &= sees(shape, sequence, q, k);
          }
        const bool visited = j / keys >= tiles.begin && j / keys < tiles.end;
        if (any) REQUIRE(visited);
        // No tile beyond the first and the last that is needed.
        if (visited && (j / keys == tiles.begin || j / keys == tiles.end - 1)) REQUIRE(any);
        REQUIRE(mask.all_visible(i, queries, j, keys) == all);

        const TileRange seeing = mask.queries_of(j, keys), whole = mask.queries_of_all(j, keys);
        for (int q = i; q < std::min(i + queries, shape.tokens); ++q) {
          bool one = false, every = j + keys <= shape.key_length;
          for (int k = j; k < std::min(j + keys, shape.key_length); ++k) {
            one |= sees(shape, sequence, q, k);
            every &= sees(shape, sequence, q, k);
          }
          REQUIRE((q >= seeing.begin && q < seeing.end) == one);
          REQUIRE((q >= whole.begin && q < whole.end) == every);
        }
      }
    }
  }
}

TEST_CASE("blocks cover every unit of every head once, longest first within a group") {
  for (const int heads : {1, 3, 8, 42})
    for (const int units : {1, 2, 7})
      for (const std::int64_t bytes :
           {std::int64_t{1}, std::int64_t{5} << 20, std::int64_t{1} << 30}) {
        const BlockOrder order = BlockOrder::of(heads, units, bytes);
        REQUIRE(order.blocks() == static_cast<unsigned>(heads * units));
        REQUIRE((order.group == 1 || order.group * bytes <= 24 << 20));
        std::set<std::pair<int, int>> seen;
        int group = 0, unit = 0;
        for (unsigned block = 0; block < order.blocks(); ++block) {
          const BlockOrder::Place place = order.place(block);
          REQUIRE((place.head >= 0 && place.head < heads && place.unit >= 0 && place.unit < units));
          REQUIRE(seen.insert({place.head, place.unit}).second);
          const int here = place.head / order.group;
          REQUIRE((here > group || (here == group && place.unit >= unit)));
          group = here;
          unit = place.unit;
        }
      }
}

TEST_CASE("Hopper's blocks cover every tile of every row once, section after section") {
  for (const int rows : {1, 3, 8, 42})
    for (const int tiles : {1, 2, 7})
      for (const std::int64_t bytes :
           {std::int64_t{0}, std::int64_t{5} << 20, std::int64_t{1} << 30}) {
        const int section = sm90::rows_per_section(rows, bytes);
        REQUIRE((section == rows || section == 1 || section * bytes <= 24 << 20));
        std::set<std::pair<int, int>> seen;
        int last_section = 0, last_tile = 0;
        for (int block = 0; block < rows * tiles; ++block) {
          const sm90::Work work(block, rows, tiles, section);
          REQUIRE((work.row >= 0 && work.row < rows && work.tile >= 0 && work.tile < tiles));
          REQUIRE(seen.insert({work.row, work.tile}).second);
          const int here = work.row / section;
          REQUIRE((here > last_section || (here == last_section && work.tile >= last_tile)));
          last_section = here;
          last_tile = work.tile;
        }
      }
}

TEST_CASE("parts of a split forward fit the scratch that is planned for the longest segment") {
  std::mt19937 random(2);
  int split = 0;
  for (int trial = 0; trial < 20000; ++trial) {
    ScratchShape plan;
    plan.micro_batch = 1 + random() % 3;
    plan.heads = 1 + random() % 12;
    plan.tokens = 1 + random() % 3000;
    plan.head_dim = 8 * (1 + random() % 32);
    ScratchShape call = plan;  // of a shorter segment
    call.tokens = 1 + random() % static_cast<unsigned>(plan.tokens);
    const AttentionTuning& tuning = tuning_of(kForwardTuning, static_cast<int>(call.head_dim));
    const std::int64_t tiles = (call.tokens + tuning.rows() - 1) / tuning.rows();
    const std::int64_t key_tiles = 1 + random() % 600;
    const int splits = attention_splits(tiles * call.micro_batch * call.heads, key_tiles,
                                        1 + static_cast<int>(random() % 300));
    REQUIRE(splits >= 1);
    if (splits == 1) continue;
    ++split;
    REQUIRE(key_tiles >= splits * kLeastTilesOfSplit);
    const std::int64_t rows = splits * call.micro_batch * call.heads * call.tokens;
    const std::size_t need =
        (static_cast<std::size_t>(rows * call.head_dim) * 4 + 255) / 256 * 256 +
        (static_cast<std::size_t>(rows) * 4 + 255) / 256 * 256;
    REQUIRE(need <= attention_forward_scratch(plan));
  }
  CHECK(split > 1000);
}

TEST_CASE("Hopper's forward takes what fills the device, and what has too few keys to share") {
  const auto taken = [](int micro_batch, int heads, int tokens, int key_length, int head_dim) {
    AttentionShape shape;
    shape.micro_batch = micro_batch;
    shape.heads = heads;
    shape.tokens = tokens;
    shape.key_length = key_length;
    shape.head_dim = head_dim;
    return prefer_sm90_forward(shape, 132);
  };
  for (const int head_dim : {64, 80, 96, 128, 256}) {
    CHECK(taken(1, 32, 4096, 32768, head_dim));
    CHECK(taken(1, 32, 256, 32768, head_dim));        // 64 tiles, two parts each
    CHECK_FALSE(taken(1, 16, 256, 32768, head_dim));  // 32 tiles, four parts each
    CHECK_FALSE(taken(1, 2, 100, 131072, head_dim));
    CHECK(taken(4, 2, 100, 400, head_dim));
  }
  CHECK_FALSE(taken(1, 32, 4096, 32768, 264));
}

// cuTensorMapEncodeTiled, CUDA driver API.
TEST_CASE("what TMA cannot address or move is known on the host") {
  alignas(16) static std::uint16_t memory[8];
  const TensorMapShape good{{72, 2, 5, 3}, {72, 144, 720}, {64, 1, 64, 1}};
  const auto refused = [&](auto change) {
    TensorMapShape shape = good;
    change(shape);
    return !tensor_map_serves(memory, shape);
  };
  CHECK(tensor_map_serves(memory, good));
  CHECK_FALSE(tensor_map_serves(memory + 4, good));
  CHECK(refused([](TensorMapShape& s) { s.stride[1] = 148; }));
  CHECK(refused([](TensorMapShape& s) { s.stride[2] = std::uint64_t{1} << 39; }));
  CHECK(refused([](TensorMapShape& s) { s.extent[3] = 0; }));
  CHECK(refused([](TensorMapShape& s) { s.extent[2] = (std::uint64_t{1} << 32) + 1; }));
  for (const auto& [dimension, steps] : {std::pair(2, 257), std::pair(1, 0), std::pair(0, 72)}) {
    TensorMapShape shape = good;
    shape.box[static_cast<std::size_t>(dimension)] = static_cast<std::uint32_t>(steps);
    CHECK_THROWS_AS(make_tensor_map(memory, shape), InternalError);
  }
}

TEST_CASE("every head dimension has an instance in every table") {
  for (int head_dim = 8; head_dim <= 256; head_dim += 8) {
    int instance = 0;
    for_instance(head_dim, [&](auto dim) { instance = decltype(dim)::value; });
    CHECK(instance >= head_dim);
    CHECK(std::count(std::begin(kAttentionDims), std::end(kAttentionDims), instance) == 1);
    CHECK(tuning_of(kForwardTuning, head_dim).head_dim == instance);
    CHECK(tuning_of(kBackwardKeyTuning, head_dim).head_dim == instance);
    CHECK(tuning_of(kBackwardQueryTuning, head_dim).head_dim == instance);
  }
}

TEST_CASE("attention of a length is computed by whom was chosen for it") {
  for (const AttentionProvider standard : {AttentionProvider::kOwn, AttentionProvider::kLibrary}) {
    const bool own = standard == AttentionProvider::kOwn;
    const AttentionProvider other = own ? AttentionProvider::kLibrary : AttentionProvider::kOwn;
    AttentionProviders providers(standard);
    CHECK(providers.of(64, 64) == standard);
    providers.choose(64, 128, other);
    CHECK(providers.of(64, 128) == other);
    CHECK(providers.of(128, 128) == standard);
    CHECK(providers.of(64, 64) == standard);
    providers.choose(64, 128, standard);
    CHECK(providers.of(64, 128) == standard);
  }
}

}  // namespace seq1f1b::kernels::cuda

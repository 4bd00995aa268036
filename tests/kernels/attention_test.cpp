#include <cmath>

#include "tests/catch.h"
#include "tests/kernels/bench.h"

namespace seq1f1b::kernels::testing {
namespace {

struct Case {
  std::int64_t micro_batch, tokens, heads, kv_heads, head_dim, query_start, spare;
  bool documents = false;
  std::int64_t key_start = 0;
  double sharpness = 1;  // scores this many times larger

  std::int64_t key_length() const { return query_start + tokens - key_start; }
  std::int64_t capacity() const { return key_length() + spare; }
};

std::ostream& operator<<(std::ostream& stream, const Case& c) {
  return stream << "batch " << c.micro_batch << ", tokens " << c.tokens << ", heads " << c.heads
                << "/" << c.kv_heads << ", head_dim " << c.head_dim << ", query_start "
                << c.query_start << ", key_start " << c.key_start << ", documents " << c.documents;
}

// Documents of uneven length, different in each sequence, some shorter than a segment and one that
// begins at the last token.
std::int64_t document_start(const Case& c, std::int64_t i) {
  const std::int64_t sequence = i / c.tokens, position = c.query_start + i % c.tokens;
  if (position == c.query_start + c.tokens - 1) return position;
  const std::int64_t length = 11 + 30 * sequence;
  return position / length * length;
}

void run_attention(Run& run, const Case& c, Accumulate mode) {
  const Tensor query = run.input({c.micro_batch, c.tokens, c.heads, c.head_dim}, 1, c.sharpness);
  const Dims carry{c.micro_batch, c.kv_heads, c.capacity(), c.head_dim};
  const Tensor key = run.carry(carry, 0, c.key_length(), 2);
  const Tensor value = run.carry(carry, 0, c.key_length(), 3);
  const Tensor output = run.output({c.micro_batch, c.tokens, c.heads, c.head_dim});
  const Tensor log_sum_exp = run.output({c.micro_batch, c.heads, c.tokens}, Role::kAccumulate);
  AttentionRange range{c.query_start, c.key_start, c.key_length(), nullptr};
  if (c.documents)
    range.document_start = run.integers({c.micro_batch, c.tokens},
                                        [&](std::int64_t i) { return document_start(c, i); })
                               .as<const std::int32_t>();
  const double scale = 1 / std::sqrt(static_cast<double>(c.head_dim));
  run.ops.attention_forward(query, key, value, range, scale, output, log_sum_exp);
  // A score is off by its size times a rounding error, and its exponential by as much relatively.
  const double condition = 1 + c.sharpness;
  run.result("output", output, {c.key_length(), condition});
  run.result("log_sum_exp", log_sum_exp, c.head_dim);

  const Tensor grad_output = run.input({c.micro_batch, c.tokens, c.heads, c.head_dim}, 4);
  const Tensor grad_query = run.output({c.micro_batch, c.tokens, c.heads, c.head_dim});
  const bool add = mode == Accumulate::kAdd;
  const std::int64_t filled = add ? c.key_length() : 0;
  const Tensor grad_key = run.carry(carry, 0, filled, 5, Role::kAccumulate);
  const Tensor grad_value = run.carry(carry, 0, filled, 6, Role::kAccumulate);
  run.ops.attention_backward(grad_output, query, key, value, output, log_sum_exp, range, scale,
                             grad_query, grad_key, grad_value, mode);
  // Differences of terms of order one, which cancel where a query sees a single key.
  run.result("grad_query", grad_query, {c.key_length(), condition, 1});
  const std::int64_t terms = c.tokens * c.heads / c.kv_heads + c.head_dim;
  run.result_rows("grad_key", grad_key, 0, c.key_length(), {terms, condition, 1, true});
  run.result_rows("grad_value", grad_value, 0, c.key_length(), {terms, condition, 0, true});
}

void check(const Case& c) {
  for (Accumulate mode : {Accumulate::kOverwrite, Accumulate::kAdd}) {
    INFO(c << ", add " << (mode == Accumulate::kAdd));
    on_every_back_end([&](Run& run) { run_attention(run, c, mode); });
  }
}

}  // namespace

TEST_CASE("attention of lengths and prefixes that divide nothing", "[attention]") {
  check({1, 1, 1, 1, 64, 0, 0});
  check({1, 1, 2, 1, 64, 1, 3});
  check({1, 1, 2, 2, 64, 130, 1});
  check({2, 7, 2, 2, 64, 0, 5});
  check({1, 65, 2, 2, 64, 63, 1});
  check({2, 67, 4, 2, 64, 131, 17});
  check({1, 193, 1, 1, 64, 201, 0});
}

TEST_CASE("attention of every head size", "[attention]") {
  for (std::int64_t head_dim : {8, 16, 24, 32, 48, 80, 96, 112, 128, 192, 256})
    check({1, 37, 2, 1, head_dim, 50, 3});
}

// No multiples of eight, which CUDA's general kernels take in bf16, too.
TEST_CASE("attention of head sizes that tensor cores do not take", "[attention]") {
  for (std::int64_t head_dim : {20, 101, 250}) check({2, 37, 2, 1, head_dim, 50, 3, true});
}

TEST_CASE("attention with shared key heads", "[attention]") {
  check({2, 41, 6, 3, 32, 29, 2});
  check({1, 41, 6, 1, 80, 0, 2});
  check({1, 70, 8, 2, 16, 100, 2});
}

TEST_CASE("attention within documents", "[attention]") {
  check({2, 67, 2, 1, 32, 0, 3, true});
  check({3, 67, 2, 1, 64, 133, 3, true});
  check({1, 1, 2, 1, 64, 12, 3, true});
}

TEST_CASE("attention over keys that begin later", "[attention]") {
  check({1, 33, 2, 1, 64, 40, 2, false, 23});
  check({2, 33, 2, 1, 64, 40, 2, true, 23});
}

// Tiles of 128 queries with keys before and behind them: whole tiles without a mask, tiles that lie
// before every document of the queries, several tiles on both sides.
TEST_CASE("attention of several tiles", "[attention]") {
  check({1, 150, 1, 1, 64, 130, 3});
  check({1, 130, 1, 1, 80, 64, 3});
  check({1, 130, 1, 1, 96, 64, 0});
  check({1, 130, 1, 1, 128, 333, 3, true});
  check({1, 130, 1, 1, 128, 128, 0, false, 64});
  check({1, 70, 1, 1, 256, 70, 2, true});
}

#ifndef SEQ1F1B_SIMT  // minutes on the emulated device
// So many heads that Hopper's forward takes them on 132 multiprocessors (attention_choice.h), whose
// rings of tiles go round several times.
TEST_CASE("attention of many heads over many tiles", "[attention]") {
  for (std::int64_t head_dim : {64, 128}) {
    const Case c{1, 3, 48, 8, head_dim, 1000, 3};
    INFO(c);
    on_every_back_end([&](Run& run) { run_attention(run, c, Accumulate::kAdd); });
  }
}
#endif

// Scores of some hundreds: only differences from the row's largest may be exponentiated.
TEST_CASE("attention of sharp scores", "[attention]") {
  check({1, 67, 2, 2, 64, 100, 2, false, 0, 100});
}

TEST_CASE("attention by segments equals attention at once", "[attention]") {
  constexpr std::int64_t kLength = 83, kHeads = 4, kKvHeads = 2, kDim = 32;
  for (bool documents : {false, true})
    on_every_back_end([&](Run& run) {
      const Case whole{1, kLength, kHeads, kKvHeads, kDim, 0, 0, documents};
      run_attention(run, whole, Accumulate::kOverwrite);

      // The same draws cut at 37, backward from the last segment.
      const double scale = 1 / std::sqrt(static_cast<double>(kDim));
      const std::int64_t row = kHeads * kDim;
      const auto rows_of = [&](const Tensor& all, std::int64_t start, std::int64_t tokens) {
        const auto width = static_cast<std::int64_t>(dtype_bytes(all.dtype));
        return Tensor(all.as<std::byte>() + start * row * width, all.dtype,
                      {1, tokens, kHeads, kDim});
      };
      const Tensor query = run.input({1, kLength, kHeads, kDim}, 1);
      const Dims carry{1, kKvHeads, kLength, kDim};
      const Tensor key = run.carry(carry, 0, kLength, 2), value = run.carry(carry, 0, kLength, 3);
      const Tensor grad_output = run.input({1, kLength, kHeads, kDim}, 4);
      const Tensor output = run.output({1, kLength, kHeads, kDim});
      const Tensor grad_query = run.output({1, kLength, kHeads, kDim});
      const Tensor grad_key = run.output(carry, Role::kAccumulate);
      const Tensor grad_value = run.output(carry, Role::kAccumulate);
      const Tensor starts = run.integers(
          {1, kLength}, [&](std::int64_t i) { return documents ? document_start(whole, i) : 0; });
      const std::int64_t cuts[] = {0, 37, kLength};
      std::vector<Tensor> statistics;
      const auto range_of = [&](int s) {
        return AttentionRange{cuts[s], 0, cuts[s + 1], starts.as<std::int32_t>() + cuts[s]};
      };
      for (int s = 0; s < 2; ++s) {
        const std::int64_t tokens = cuts[s + 1] - cuts[s];
        statistics.push_back(run.output({1, kHeads, tokens}, Role::kAccumulate));
        run.ops.attention_forward(rows_of(query, cuts[s], tokens), key, value, range_of(s), scale,
                                  rows_of(output, cuts[s], tokens), statistics.back());
      }
      for (int s = 1; s >= 0; --s) {
        const std::int64_t tokens = cuts[s + 1] - cuts[s];
        run.ops.attention_backward(
            rows_of(grad_output, cuts[s], tokens), rows_of(query, cuts[s], tokens), key, value,
            rows_of(output, cuts[s], tokens), statistics[static_cast<std::size_t>(s)], range_of(s),
            scale, rows_of(grad_query, cuts[s], tokens), grad_key, grad_value,
            s == 1 ? Accumulate::kOverwrite : Accumulate::kAdd);
      }
      run.result("output", output, {kLength, 2});
      run.result("grad_query", grad_query, {kLength, 2});
      run.result_rows("grad_key", grad_key, 0, kLength, {2 * kLength, 2, 0, true});
      run.result_rows("grad_value", grad_value, 0, kLength, {2 * kLength, 2, 0, true});
      const auto results = run.finish();
      const auto same = [&](const std::string& name) {
        std::vector<const Result*> found;
        for (const Result& result : results)
          if (result.name.rfind(name, 0) == 0) found.push_back(&result);
        REQUIRE(found.size() % 2 == 0);
        const std::size_t half = found.size() / 2;
        const double bound = query.dtype == Dtype::kF64   ? 1e-13
                             : query.dtype == Dtype::kF32 ? 1e-4
                                                          : 3e-2;
        for (std::size_t i = 0; i < half; ++i)
          for (std::size_t j = 0; j < found[i]->values.size(); ++j)
            if (!(std::abs(found[i]->values[j] - found[half + i]->values[j]) <= bound))
              FAIL(name << "[" << j << "]: " << found[i]->values[j] << " at once, "
                        << found[half + i]->values[j] << " by segments");
      };
      same("output");
      same("grad_query");
      same("grad_key");
      same("grad_value");
    });
}

}  // namespace seq1f1b::kernels::testing

#include "tests/catch.h"
#include "tests/kernels/bench.h"

namespace seq1f1b::kernels::testing {

// Positions far from zero, turns of part of a head, and a carry with rows on both sides of the
// segment, which stay as they are.
TEST_CASE("projection to and from the carry", "[carry]") {
  struct Case {
    std::int64_t micro_batch, tokens, heads, kv_heads, head_dim, capacity, start;
    Rotary rotary;
  };
  const Case cases[] = {{1, 1, 1, 1, 8, 1, 0, {0, false, 10000}},
                        {2, 7, 4, 2, 16, 13, 5, {16, false, 10000}},
                        {2, 7, 4, 2, 16, 13, 5, {16, true, 10000}},
                        {3, 33, 6, 2, 80, 61, 17, {20, false, 500000}},
                        {1, 67, 5, 5, 96, 2100, 2000, {48, true, 10000}},
                        {1, 31, 3, 1, 256, 33, 0, {0, false, 10000}},
                        {2, 9, 4, 2, 128, 20, 7, {128, false, 500000}},
                        {2, 9, 4, 2, 128, 20, 7, {64, true, 10000}},
                        {1, 6, 2, 1, 256, 9, 2, {256, false, 10000}},
                        {1, 5, 1, 1, 2, 1000007, 1000000, {2, false, 10000}}};
  for (const Case& c : cases) {
    INFO("head_dim " << c.head_dim << ", rotary " << c.rotary.dimensions << ", interleaved "
                     << c.rotary.interleaved);
    on_every_back_end([&](Run& run) {
      const std::int64_t end = c.start + c.tokens;
      const std::int64_t width = (c.heads + 2 * c.kv_heads) * c.head_dim;
      const Tensor query = run.output({c.micro_batch, c.tokens, c.heads, c.head_dim});
      const Tensor key = run.output({c.micro_batch, c.kv_heads, c.capacity, c.head_dim});
      const Tensor value = run.output({c.micro_batch, c.kv_heads, c.capacity, c.head_dim});
      run.ops.split_qkv_rope(run.input({c.micro_batch, c.tokens, width}, 1), c.start, c.rotary,
                             query, key, value);
      run.result("query", query, 2);
      run.result_rows("key", key, c.start, end, 2);
      run.result_rows("value", value, c.start, end, {0, 0});

      const Tensor grad_query = run.input({c.micro_batch, c.tokens, c.heads, c.head_dim}, 2);
      const Tensor grad_key = run.carry({c.micro_batch, c.kv_heads, c.capacity, c.head_dim},
                                        c.start, end, 3, Role::kAccumulate);
      const Tensor grad_value = run.carry({c.micro_batch, c.kv_heads, c.capacity, c.head_dim},
                                          c.start, end, 4, Role::kAccumulate);
      const Tensor grad_projected = run.output({c.micro_batch, c.tokens, width});
      run.ops.split_qkv_rope_backward(grad_query, grad_key, grad_value, c.start, c.rotary,
                                      grad_projected);
      run.result("grad_projected", grad_projected, 2);
    });
  }
}

TEST_CASE("rotary scores depend on the distance of positions alone", "[carry]") {
  Backend backend = make_reference_backend();
  for (bool interleaved : {false, true}) {
    const auto score = [&](std::int64_t query_position, std::int64_t key_position) {
      Run run(backend);
      const Tensor projected = run.input({1, 1, 3 * 16}, 1);
      const Rotary rotary{16, interleaved, 10000};
      double sum = 0;
      const Tensor query = run.output({1, 1, 1, 16}), other = run.output({1, 1, 1, 16});
      const Tensor key = run.output({1, 1, 200, 16}), value = run.output({1, 1, 200, 16});
      run.ops.split_qkv_rope(projected, key_position, rotary, other, key, value);
      run.ops.split_qkv_rope(projected, query_position, rotary, query, key, value);
      for (std::int64_t c = 0; c < 16; ++c)
        sum += query.as<double>()[c] * key.as<double>()[key_position * 16 + c];
      return sum;
    };
    CHECK(score(150, 137) == Approx(score(13, 0)).epsilon(1e-12));
    CHECK(score(13, 0) != Approx(score(14, 0)).epsilon(1e-3));
  }
}

}  // namespace seq1f1b::kernels::testing

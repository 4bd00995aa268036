// Hopper's attention kernels, called directly on the emulator, against the fp64 reference: also
// where the dispatch would not choose them.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/common/bf16.h"
#include "kernels/cuda/attention/attention_sm90.h"
#include "kernels/device.h"
#include "tests/catch.h"

namespace seq1f1b::kernels::cuda {
namespace {

// Shared memory as of Hopper; before anybody asks the emulator what it is.
[[maybe_unused]] const int architecture = setenv("SEQ1F1B_SIMT_ARCH", "90", 1);

struct Case {
  int micro_batch, tokens, heads, kv_heads, head_dim, query_start, spare;
  bool documents = false;
  int key_start = 0;
  float sharpness = 1;

  int key_length() const { return query_start + tokens - key_start; }
  int capacity() const { return key_length() + spare; }
};

std::ostream& operator<<(std::ostream& stream, const Case& c) {
  return stream << "batch " << c.micro_batch << ", tokens " << c.tokens << ", heads " << c.heads
                << "/" << c.kv_heads << ", head_dim " << c.head_dim << ", query_start "
                << c.query_start << ", key_start " << c.key_start << ", documents " << c.documents;
}

// Aligned, as device memory is, and no byte longer than asked for; starts as NaN.
template <class T>
struct Buffer {
  std::size_t count;
  T* data;
  explicit Buffer(std::size_t n) : count(n) {
    void* memory = nullptr;
    REQUIRE(posix_memalign(&memory, 256, n * sizeof(T)) == 0);
    data = static_cast<T*>(std::memset(memory, 0xFF, n * sizeof(T)));
  }
  ~Buffer() { std::free(data); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
};

// Normal draws as bf16, and the same values in fp64. Rows from `filled` on of every `rows` stay
// NaN.
struct Input {
  Buffer<Bf16> bf16;
  std::vector<double> exact;
  Input(std::size_t count, std::uint64_t seed, float scale, int rows = 1, int filled = 1,
        int width = 1)
      : bf16(count), exact(count, std::nan("")) {
    std::mt19937_64 random(seed);
    std::normal_distribution<float> normal;
    for (std::size_t i = 0; i < count; ++i) {
      const float draw = normal(random) * scale;
      if (i / width % rows >= static_cast<std::size_t>(filled)) continue;
      bf16.data[i] = Bf16(draw);
      exact[i] = static_cast<float>(bf16.data[i]);
    }
  }
};

Tensor tensor(const std::vector<double>& values, std::initializer_list<std::int64_t> dims) {
  return Tensor(const_cast<double*>(values.data()), Dtype::kF64, dims);
}

// Every value is off by at most its bound; NaN is expected where nobody writes.
template <class T>
void compare(const char* name, const T* got, const std::vector<double>& expected,
             const std::vector<double>& bound) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double value = static_cast<float>(got[i]);
    const bool good =
        std::isnan(expected[i]) ? std::isnan(value) : std::abs(value - expected[i]) <= bound[i];
    if (good) continue;
    INFO(name << "[" << i << "]: " << value << " instead of " << expected[i] << ", bound "
              << bound[i]);
    REQUIRE(good);
  }
  SUCCEED();
}

int document_start(const Case& c, int sequence, int i) {
  const int position = c.query_start + i;
  if (i == c.tokens - 1) return position;
  const int length = 11 + 30 * sequence;
  return position / length * length;
}

// How far results may be off, to first order, by the roundings that the kernels make; each sum over
// the absolute values of its terms, so that no draw exceeds it. u is bf16's unit roundoff, f
// fp32's.
struct Bounds {
  std::vector<double> output, log_sum_exp, grad_query, grad_key, grad_value;
};
Bounds bounds_of(const Case& c, double scale, const std::vector<std::int32_t>& documents,
                 const std::vector<double>& query, const std::vector<double>& key,
                 const std::vector<double>& value, const std::vector<double>& grad_output,
                 const std::vector<double>& output, const std::vector<double>& log_sum_exp,
                 const std::vector<double>& grad_query, const std::vector<double>& grad_key,
                 const std::vector<double>& grad_value) {
  const double u = std::ldexp(1.0, -8), f = std::ldexp(1.0, -24), second_order = 1.01;
  const int d = c.head_dim;
  Bounds bounds{std::vector<double>(output.size()), std::vector<double>(log_sum_exp.size()),
                std::vector<double>(output.size()), std::vector<double>(key.size()),
                std::vector<double>(key.size())};
  for (int b = 0; b < c.micro_batch; ++b)
    for (int h = 0; h < c.heads; ++h)
      for (int i = 0; i < c.tokens; ++i) {
        const std::size_t row = ((std::size_t{1} * b * c.tokens + i) * c.heads + h) * d;
        const std::size_t statistic = (std::size_t{1} * b * c.heads + h) * c.tokens + i;
        const std::size_t kv =
            (std::size_t{1} * b * c.kv_heads + h / (c.heads / c.kv_heads)) * c.capacity();
        const double* const q = query.data() + row;
        const double* const grad = grad_output.data() + row;
        const int first = std::max(0, c.documents ? documents[b * c.tokens + i] - c.key_start : 0);
        const int last = c.query_start + i - c.key_start;

        // Probabilities p; relative errors of all of them: that of a score of d fp32 terms, and of
        // the few operations on scaled scores and their largest.
        std::vector<double> p(last + 1), g(last + 1);
        double relative = 0;
        for (int j = first; j <= last; ++j) {
          double score = 0, size = 0;
          for (int e = 0; e < d; ++e) {
            const double term = scale * q[e] * key[(kv + j) * d + e];
            score += term;
            size += std::abs(term);
          }
          p[j] = std::exp(score - log_sum_exp[statistic]);
          relative = std::max(relative, d * f * size + 8 * f * (1 + std::abs(score)));
        }
        const int keys = last - first + 1;
        const double lse_error =
            relative + (keys + 4) * f + 4 * f * std::abs(log_sum_exp[statistic]);
        bounds.log_sum_exp[statistic] = second_order * lse_error;

        // Output: p to bf16 before the product, the result to bf16 behind it.
        double delta = 0, delta_error = 0;
        for (int e = 0; e < d; ++e) {
          double size = 0;
          for (int j = first; j <= last; ++j) size += p[j] * std::abs(value[(kv + j) * d + e]);
          const double error =
              (u + 2 * relative + 2 * keys * f) * size + u * std::abs(output[row + e]);
          bounds.output[row + e] = second_order * error;
          // delta = grad_output . output takes the rounded output.
          delta += grad[e] * output[row + e];
          delta_error += std::abs(grad[e]) * (error + d * f * std::abs(output[row + e]));
        }

        // g = p (grad_output . value - delta), to bf16; backward's p comes from log_sum_exp.
        const double relative_p = relative + lse_error;
        for (int j = first; j <= last; ++j) {
          double product = 0, size = 0;
          for (int e = 0; e < d; ++e) {
            const double term = grad[e] * value[(kv + j) * d + e];
            product += term;
            size += std::abs(term);
          }
          g[j] = p[j] * (product - delta);
          const double g_error =
              p[j] * (delta_error + d * f * size) + (u + relative_p + 4 * f) * std::abs(g[j]);
          for (int e = 0; e < d; ++e) {
            const std::size_t at = (kv + j) * d + e;
            const double terms = (c.tokens * c.heads / c.kv_heads + 4) * f;
            bounds.grad_query[row + e] +=
                scale * (g_error + keys * f * std::abs(g[j])) * std::abs(key[at]);
            bounds.grad_key[at] += scale * (g_error + terms * std::abs(g[j])) * std::abs(q[e]);
            bounds.grad_value[at] += (u + relative_p + terms) * p[j] * std::abs(grad[e]);
          }
        }
        for (int e = 0; e < d; ++e)
          bounds.grad_query[row + e] =
              second_order * (bounds.grad_query[row + e] + u * std::abs(grad_query[row + e]));
      }
  for (std::size_t i = 0; i < key.size(); ++i) {  // and what they are added to
    bounds.grad_key[i] = second_order * bounds.grad_key[i] + 2 * f * (3 + std::abs(grad_key[i]));
    bounds.grad_value[i] =
        second_order * bounds.grad_value[i] + 2 * f * (3 + std::abs(grad_value[i]));
  }
  return bounds;
}

// Runs forward and backward, compares them with the reference, and returns all results as bytes.
std::string run(const Case& c, bool deterministic, bool add) {
  INFO(c << ", deterministic " << deterministic << ", add " << add);
  const std::size_t queries = std::size_t{1} * c.micro_batch * c.tokens * c.heads * c.head_dim;
  const std::size_t keys = std::size_t{1} * c.micro_batch * c.kv_heads * c.capacity() * c.head_dim;
  const std::size_t statistics = std::size_t{1} * c.micro_batch * c.heads * c.tokens;
  const Input query(queries, 1, c.sharpness), grad_output(queries, 4, 1);
  const Input key(keys, 2, 1, c.capacity(), c.key_length(), c.head_dim);
  const Input value(keys, 3, 1, c.capacity(), c.key_length(), c.head_dim);
  std::vector<std::int32_t> documents;
  for (int b = 0; b < c.micro_batch; ++b)
    for (int i = 0; i < c.tokens; ++i) documents.push_back(document_start(c, b, i));

  Buffer<Bf16> output(queries), grad_query(queries);
  Buffer<float> log_sum_exp(statistics), grad_key(keys), grad_value(keys);
  std::vector<double> ref_output(queries), ref_grad_query(queries), ref_log_sum_exp(statistics);
  std::vector<double> ref_grad_key(keys, std::nan("")), ref_grad_value(keys, std::nan(""));
  if (add)
    for (std::size_t i = 0; i < keys; ++i)
      if (!std::isnan(key.exact[i])) {
        ref_grad_key[i] = grad_key.data[i] = static_cast<float>(i % 7) - 3;
        ref_grad_value[i] = grad_value.data[i] = static_cast<float>(i % 5) - 2;
      }

  const AttentionShape shape{c.micro_batch,
                             c.tokens,
                             c.heads,
                             c.kv_heads,
                             c.head_dim,
                             c.capacity(),
                             c.query_start,
                             c.key_start,
                             c.key_length(),
                             c.documents ? documents.data() : nullptr,
                             1 / std::sqrt(static_cast<float>(c.head_dim))};
  const std::size_t scratch_bytes =
      attention_sm90_scratch_bytes(c.micro_batch, c.tokens, c.heads, c.head_dim, deterministic);
  Buffer<std::byte> scratch(scratch_bytes);
  Context context;
  context.architecture = 90;
  context.multiprocessors = 132;
  context.deterministic = deterministic;
  context.scratch = Scratch(scratch.data, scratch_bytes);
  REQUIRE(attention_sm90_forward(context, {shape, query.bf16.data, key.bf16.data, value.bf16.data,
                                           output.data, log_sum_exp.data}));
  const bool backward = c.head_dim <= kSm90MaxBackwardHeadDim;
  REQUIRE(attention_sm90_backward(context,
                                  {shape, grad_output.bf16.data, query.bf16.data, key.bf16.data,
                                   value.bf16.data, output.data, log_sum_exp.data, grad_query.data,
                                   grad_key.data, grad_value.data, add}) == backward);
  cuda::check(cudaDeviceSynchronize(), "running attention");

  Backend reference = make_reference_backend();
  const AttentionRange range{c.query_start, c.key_start, c.key_length(), shape.document_start};
  const auto q = [&](const std::vector<double>& v) {
    return tensor(v, {c.micro_batch, c.tokens, c.heads, c.head_dim});
  };
  const auto k = [&](const std::vector<double>& v) {
    return tensor(v, {c.micro_batch, c.kv_heads, c.capacity(), c.head_dim});
  };
  const Tensor lse = tensor(ref_log_sum_exp, {c.micro_batch, c.heads, c.tokens});
  reference.ops->attention_forward(q(query.exact), k(key.exact), k(value.exact), range, shape.scale,
                                   q(ref_output), lse);
  reference.ops->attention_backward(q(grad_output.exact), q(query.exact), k(key.exact),
                                    k(value.exact), q(ref_output), lse, range, shape.scale,
                                    q(ref_grad_query), k(ref_grad_key), k(ref_grad_value),
                                    add ? Accumulate::kAdd : Accumulate::kOverwrite);
  const Bounds bounds =
      bounds_of(c, shape.scale, documents, query.exact, key.exact, value.exact, grad_output.exact,
                ref_output, ref_log_sum_exp, ref_grad_query, ref_grad_key, ref_grad_value);
  compare("log_sum_exp", log_sum_exp.data, ref_log_sum_exp, bounds.log_sum_exp);
  compare("output", output.data, ref_output, bounds.output);
  if (backward) {
    compare("grad_query", grad_query.data, ref_grad_query, bounds.grad_query);
    compare("grad_key", grad_key.data, ref_grad_key, bounds.grad_key);
    compare("grad_value", grad_value.data, ref_grad_value, bounds.grad_value);
  }

  std::string bytes;
  const auto append = [&](const auto& buffer) {
    bytes.append(reinterpret_cast<const char*>(buffer.data), buffer.count * sizeof(*buffer.data));
  };
  append(output), append(log_sum_exp), append(grad_query), append(grad_key), append(grad_value);
  return bytes;
}

void check(const Case& c) {
  if (c.head_dim > kSm90MaxBackwardHeadDim) {
    run(c, true, false);
    return;
  }
  for (bool deterministic : {true, false})
    for (bool add : {false, true}) run(c, deterministic, add);
}

}  // namespace

TEST_CASE("Hopper attention of lengths that divide nothing", "[attention]") {
  check({1, 1, 1, 1, 64, 0, 0});
  check({1, 1, 2, 1, 64, 130, 3});
  check({2, 67, 2, 1, 64, 131, 17});
  check({1, 193, 1, 1, 64, 201, 0});
  check({1, 1, 1, 1, 128, 0, 0});
  check({2, 65, 2, 2, 128, 63, 1});
  check({1, 150, 2, 1, 128, 260, 3});
}

// Panels used in part: the second of 80 and 96 columns. Three warp groups of queries, several
// blocks, tiles of 112 keys.
TEST_CASE("Hopper attention of 80 and 96 columns", "[attention]") {
  for (int head_dim : {80, 96}) {
    check({1, 1, 1, 1, head_dim, 0, 0});
    check({2, 67, 2, 1, head_dim, 131, 17});
    check({1, 193, 1, 1, head_dim, 201, 0});
    check({1, 130, 3, 3, head_dim, 350, 3, true});
    check({1, 33, 2, 1, head_dim, 300, 2, false, 23});
    check({1, 67, 1, 1, head_dim, 100, 2, false, 0, 100});
  }
}

TEST_CASE("Hopper attention of 256 columns", "[attention]") {
  check({1, 1, 1, 1, 256, 0, 0});
  check({2, 65, 2, 1, 256, 63, 1});
  check({1, 150, 2, 1, 256, 130, 3});
  check({1, 70, 1, 1, 256, 200, 3, true});
}

TEST_CASE("Hopper attention of whole tiles", "[attention]") {
  check({1, 256, 1, 1, 128, 0, 0});
  check({1, 384, 1, 1, 64, 128, 0});
  check({1, 192, 1, 1, 96, 256, 0});
  check({1, 128, 1, 1, 256, 128, 0});
}

TEST_CASE("Hopper attention of padded head sizes", "[attention]") {
  for (int head_dim : {8, 32, 72, 88, 120, 136, 192}) check({1, 37, 2, 1, head_dim, 150, 3});
}

TEST_CASE("Hopper attention with shared key heads", "[attention]") {
  check({2, 70, 6, 2, 64, 29, 2});
  check({1, 41, 4, 1, 128, 100, 2});
  check({1, 1, 64, 1, 8, 0, 0});  // one key, of which a query head's share is half a byte
}

TEST_CASE("Hopper attention within documents", "[attention]") {
  check({2, 67, 2, 1, 64, 133, 3, true});
  check({2, 140, 1, 1, 128, 200, 3, true});
  check({2, 33, 2, 1, 64, 40, 2, true, 23});
}

TEST_CASE("Hopper attention over keys that begin later", "[attention]") {
  check({1, 33, 2, 1, 64, 300, 2, false, 23});
}

TEST_CASE("Hopper attention of sharp scores", "[attention]") {
  check({1, 67, 1, 1, 64, 100, 2, false, 0, 100});
}

// Equal keys: all scores of a query are the same, and so large that they are known to a hundredth
// only. What was summed up over a tile weighs as much as the next one, however many there are.
TEST_CASE("Hopper attention of many tiles whose largest score stays", "[attention]") {
  for (int head_dim : {64, 128}) {
    const int tokens = 64, keys = 2048, d = head_dim;
    const AttentionShape shape{1, tokens, 1, 1, d, keys, keys - tokens, 0, keys, nullptr, 3.7f};
    const Input query(std::size_t{1} * tokens * d, 1, 50);
    Buffer<Bf16> key(std::size_t{1} * keys * d), value(key.count), output(query.exact.size());
    for (std::size_t i = 0; i < key.count; ++i) {
      key.data[i] = Bf16(41.0f);
      value.data[i] = Bf16(i < key.count / 2 ? 1.0f : -1.0f);
    }
    Buffer<float> log_sum_exp(tokens);
    Context context;
    context.architecture = 90;
    REQUIRE(attention_sm90_forward(
        context, {shape, query.bf16.data, key.data, value.data, output.data, log_sum_exp.data}));
    cuda::check(cudaDeviceSynchronize(), "running attention");
    for (int i = 0; i < tokens; ++i) {
      const int seen = keys - tokens + i + 1;
      INFO("query " << i << " of " << d << " columns: " << static_cast<float>(output.data[i * d]));
      REQUIRE(std::abs(static_cast<float>(output.data[i * d]) - (keys - seen) * 1.0 / seen) < 1e-3);
    }
  }
}

// Blocks, warps and copies run in another order each time.
TEST_CASE("Hopper attention repeats its bits", "[attention]") {
  for (int head_dim : {64, 80, 96, 128}) {
    const Case c{2, 140, 2, 1, head_dim, 260, 3};
    CHECK(run(c, true, false) == run(c, true, false));
  }
}

TEST_CASE("Hopper attention leaves other problems alone", "[attention]") {
  Context context;
  context.architecture = 90;
  AttentionForward call{};
  call.shape = {1, 4, 2, 1, 64, 4, 0, 0, 4, nullptr, 0.125f};
  const auto refused = [&](auto change) {
    AttentionForward other = call;
    change(other.shape);
    return !attention_sm90_forward(context, other);
  };
  CHECK(refused([](AttentionShape& s) { s.head_dim = 264; }));
  CHECK(refused([](AttentionShape& s) { s.head_dim = 60; }));
  CHECK(refused([](AttentionShape& s) { s.scale = -1; }));
  // What begins at an odd float, though it lies in a larger allocation.
  alignas(16) float gradient[2] = {};
  AttentionBackward back{};
  back.shape = call.shape;
  back.grad_key = gradient + 1;
  CHECK_FALSE(attention_sm90_backward(context, back));
  back.grad_key = gradient;
  back.grad_value = gradient + 1;
  CHECK_FALSE(attention_sm90_backward(context, back));
  context.architecture = 80;
  CHECK_FALSE(attention_sm90_forward(context, call));
}

}  // namespace seq1f1b::kernels::cuda

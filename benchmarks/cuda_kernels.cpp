// Times the CUDA back end's operations through the contract of kernels/ops.h, by time stamps in the
// device's queue.
//   cmake --build BUILD --target cuda_kernels
//   BUILD/cuda_kernels [--tiny] [--fast] [--cudnn] [--device] [memory] [products] [attention]
// One line per figure, tab-separated: name, value, unit. Attention counts visible pairs only: 4 d
// FLOPs forward, 10 d backward. Memory-bound operations count the bytes that must move: every
// operand read once, every result written once. scripts/gpu_check.sh sets the figures beside their
// targets.
//   --tiny   small shapes, one call each: that everything runs (also emulated)
//   --fast   variants whose sums run in any order
//   --cudnn  attention by cuDNN
//   --device only names the device and its libraries
// memory, products, attention: those groups only, in that order; without one, all.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <exception>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "kernels/common/bf16.h"
#include "kernels/common/philox.h"
#include "kernels/cuda/backend.h"
#include "kernels/cuda/scratch.h"
#include "kernels/ops.h"

namespace {

using namespace seq1f1b::kernels;
using Shape = std::initializer_list<std::int64_t>;

struct Choice {
  bool tiny = false, fast = false, cudnn = false;
  bool memory = false, products = false, attention = false;
};

class Bench {
 public:
  explicit Bench(const Choice& choice)
      : choice_(choice),
        backend_(
            cuda::make_cuda_backend({.compute = Dtype::kBf16,
                                     .deterministic = !choice.fast,
                                     .graphs = false,
                                     .attention = choice.cudnn ? cuda::AttentionKernels::kCudnn
                                                               : cuda::AttentionKernels::kOwn})),
        ops_(*backend_.ops),
        scratch_(*backend_.device, scratch_bytes(choice)) {
    ops_.use_scratch(scratch_.data(), scratch_.bytes());
  }

  void run() {
    if (choice_.memory) {
      copy_speed();
      pointwise();
    }
    if (choice_.products) products();
    if (choice_.attention) attention();
  }

 private:
  static std::size_t scratch_bytes(const Choice& choice) {
    cuda::ScratchShape shape;
    shape.tokens = choice.tiny ? 128 : 32768;
    shape.seq_length = shape.tokens;
    shape.hidden = choice.tiny ? 128 : 8192;
    shape.ffn_in = 4 * shape.hidden;
    shape.vocab = choice.tiny ? 512 : 50304;
    shape.heads = shape.kv_heads = choice.tiny ? 2 : 64;
    shape.head_dim = choice.tiny ? 64 : 128;
    shape.logit_rows = choice.tiny ? 32 : 4096;
    shape.largest_tensor = std::int64_t{1} << (choice.tiny ? 16 : 28);
    shape.deterministic = !choice.fast;
    shape.cudnn = choice.cudnn;
    return cuda::scratch_bytes(shape);
  }

  // Noise in (-0.5, 0.5); a short pattern repeated, so that gigabytes are filled quickly.
  Tensor noise(Shape shape, Dtype dtype = Dtype::kBf16) {
    Tensor tensor = space(shape, dtype);
    const std::size_t width = dtype_bytes(dtype), period = 65521;
    std::vector<std::byte> host(period * width);
    for (std::size_t i = 0; i < period; ++i) {
      const auto value = static_cast<float>(philox_uniform(philox(7, i)[0]) - 0.5);
      const Bf16 rounded(value);
      std::memcpy(host.data() + i * width,
                  dtype == Dtype::kBf16 ? static_cast<const void*>(&rounded) : &value, width);
    }
    const std::size_t bytes = tensor.bytes();
    for (std::size_t done = 0; done < bytes; done += host.size())
      backend_.device->upload(tensor.as<std::byte>() + done, host.data(),
                              std::min(host.size(), bytes - done));
    return tensor;
  }
  Tensor space(Shape shape, Dtype dtype = Dtype::kBf16) {
    Tensor tensor(nullptr, dtype, shape);
    memory_.emplace_back(*backend_.device, tensor.bytes());
    tensor.data = memory_.back().data();
    return tensor;
  }
  Tensor integers(std::int64_t count, std::int64_t below) {
    Tensor tensor = space({1, count}, Dtype::kI32);
    std::vector<std::int32_t> host(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < host.size(); ++i)
      host[i] = static_cast<std::int32_t>(philox(3, i)[0] % static_cast<std::uint64_t>(below));
    backend_.device->upload(tensor.data, host.data(), tensor.bytes());
    return tensor;
  }

  // Mean over as many calls as fit a tenth of a second, after warm-up.
  double seconds(const std::function<void()>& call) {
    Device& device = *backend_.device;
    const auto timed = [&](int calls) {
      device.stamp(0);
      for (int i = 0; i < calls; ++i) call();
      device.stamp(1);
      device.synchronize();
      return device.seconds_between(0, 1) / calls;
    };
    const double once = timed(1);
    if (choice_.tiny) return once;
    const double warm = std::min(once, timed(3));
    return timed(std::max(5, static_cast<int>(0.1 / warm)));
  }
  void report(const std::string& name, double value, const char* unit) {
    std::printf("%s\t%.4g\t%s\n", name.c_str(), value, unit);
    std::fflush(stdout);
  }
  void rate(const std::string& name, double bytes, const std::function<void()>& call) {
    const double gigabytes = bytes / seconds(call) / 1e9;
    report(name, gigabytes, "GB/s");
    report(name + ".of_copy", gigabytes / copy_rate_, "");
  }
  void free_all() { memory_.clear(); }

  void copy_speed() {
    const std::int64_t count = std::int64_t{1} << (choice_.tiny ? 16 : 30);
    const Tensor from = noise({count}), to = space({count});
    const double bytes = 2.0 * static_cast<double>(from.bytes());
    copy_rate_ =
        bytes / seconds([&] { backend_.device->copy(to.data, from.data, from.bytes()); }) / 1e9;
    report("copy", copy_rate_, "GB/s");
    rate("ops.copy", bytes, [&] { ops_.copy(from, to); });
    free_all();
  }

  void pointwise() {
    const std::int64_t rows = choice_.tiny ? 128 : 16384, hidden = choice_.tiny ? 128 : 4096,
                       ffn = 4 * hidden, vocab = choice_.tiny ? 512 : 50304;
    const auto cells = [](std::int64_t r, std::int64_t c) { return static_cast<double>(r * c); };
    const Tensor x = noise({rows, hidden}), y = space({rows, hidden}), dx = space({rows, hidden});
    const Tensor weight = noise({hidden}), bias = noise({hidden});
    const Tensor statistics = space({rows, 2}, Dtype::kF32);
    const Tensor grad_weight = noise({hidden}, Dtype::kF32),
                 grad_bias = noise({hidden}, Dtype::kF32);
    for (const auto& [kind, name] :
         {std::pair{NormKind::kLayerNorm, "layernorm"}, std::pair{NormKind::kRmsNorm, "rmsnorm"}}) {
      const Tensor b = kind == NormKind::kLayerNorm ? bias : Tensor();
      const Tensor gb = kind == NormKind::kLayerNorm ? grad_bias : Tensor();
      rate(std::string(name) + ".forward", 4 * cells(rows, hidden),
           [&] { ops_.norm_forward(kind, x, weight, b, 1e-5, y, statistics); });
      rate(std::string(name) + ".backward", 8 * cells(rows, hidden),
           [&] { ops_.norm_backward(kind, y, x, statistics, weight, dx, dx, grad_weight, gb); });
    }
    const Tensor wide = noise({rows, ffn}), wide2 = space({rows, ffn});
    rate("gelu.forward", 4 * cells(rows, ffn), [&] { ops_.gelu_forward(wide, wide2); });
    rate("gelu.backward", 6 * cells(rows, ffn), [&] { ops_.gelu_backward(wide, wide2, wide2); });
    const Tensor half = space({rows, ffn / 2}), grad_wide = space({rows, ffn});
    rate("swiglu.forward", 3 * cells(rows, ffn), [&] { ops_.swiglu_forward(wide, half); });
    rate("swiglu.backward", 5 * cells(rows, ffn),
         [&] { ops_.swiglu_backward(wide, half, grad_wide); });
    free_all();

    const Tensor tokens = integers(rows, vocab), table = noise({vocab, hidden});
    const Tensor grad_table = noise({vocab, hidden}, Dtype::kF32);
    const Tensor out = noise({1, rows, hidden});
    rate("embedding.forward", 4 * cells(rows, hidden),
         [&] { ops_.embedding_forward(tokens, table, {}, 0, out); });
    rate("embedding.backward", 10 * cells(rows, hidden),
         [&] { ops_.embedding_backward(tokens, out, 0, grad_table, {}); });
    free_all();

    const std::int64_t logit_rows = choice_.tiny ? 32 : 2048;
    const Tensor logits = noise({logit_rows, vocab}), labels = integers(logit_rows, vocab);
    const Tensor scalars = space({4}, Dtype::kF64);
    const double one = 1, zero = 0;
    backend_.device->upload(scalars.data, &one, sizeof one);
    backend_.device->upload(scalars.as<double>() + 1, &zero, sizeof zero);
    rate("cross_entropy", 4 * cells(logit_rows, vocab), [&] {
      ops_.cross_entropy(logits, labels.reshaped({logit_rows}), scalars.as<double>(), true,
                         scalars.as<double>() + 1);
    });
    free_all();

    const std::int64_t heads = choice_.tiny ? 2 : 32, dim = hidden / heads;
    const Tensor projected = noise({1, rows, 3 * hidden}), query = space({1, rows, heads, dim}),
                 key = space({1, heads, rows, dim}), value = space({1, heads, rows, dim});
    rate("split_qkv_rope", 12 * cells(rows, hidden), [&] {
      ops_.split_qkv_rope(projected, 0, {.dimensions = static_cast<int>(dim)}, query, key, value);
    });
    const Tensor grad_key = noise({1, heads, rows, dim}, Dtype::kF32),
                 grad_value = noise({1, heads, rows, dim}, Dtype::kF32);
    rate("split_qkv_rope_backward", 16 * cells(rows, hidden), [&] {
      ops_.split_qkv_rope_backward(query, grad_key, grad_value, 0,
                                   {.dimensions = static_cast<int>(dim)}, projected);
    });
    free_all();

    const std::int64_t count = std::int64_t{1} << (choice_.tiny ? 16 : 28);
    const Tensor gradient = noise({count}, Dtype::kF32);
    rate("sum_of_squares", 4 * static_cast<double>(count), [&, result = space({1}, Dtype::kF64)] {
      ops_.sum_of_squares(gradient, result.as<double>());
    });
    const AdamwTensor tensor{noise({count}),
                             noise({count}, Dtype::kF32),
                             gradient,
                             noise({count}, Dtype::kF32),
                             noise({count}, Dtype::kF32),
                             0.1};
    const AdamWParams constants{.learning_rate = 1e-6};
    const Tensor step =
        space({static_cast<std::int64_t>(sizeof(AdamWParams) / sizeof(double))}, Dtype::kF64);
    backend_.device->upload(step.data, &constants, sizeof constants);
    rate("adamw", 30 * static_cast<double>(count),
         [&] { ops_.adamw(std::span(&tensor, 1), step.as<AdamWParams>()); });
    free_all();
  }

  void products() {
    struct Product {
      std::int64_t rows, in, out;
    };
    const std::vector<Product> shapes =
        choice_.tiny
            ? std::vector<Product>{{128, 128, 256}}
            : std::vector<Product>{{8192, 8192, 8192},  // the ceiling
                                   {4096, 4096, 12288}, {4096, 4096, 16384}, {4096, 16384, 4096},
                                   {16384, 4096, 4096}, {2048, 768, 50304}};
    for (const Product& shape : shapes) {
      const Tensor input = noise({shape.rows, shape.in}), weight = noise({shape.out, shape.in}),
                   bias = noise({shape.out}), output = space({shape.rows, shape.out}),
                   activated = space({shape.rows, shape.out}),
                   grad_input = space({shape.rows, shape.in}),
                   grad_weight = noise({shape.out, shape.in}, Dtype::kF32),
                   grad_bias = noise({shape.out}, Dtype::kF32);
      const double work =
          2e-12 * static_cast<double>(shape.rows * shape.in) * static_cast<double>(shape.out);
      const std::string name = "linear." + std::to_string(shape.rows) + "x" +
                               std::to_string(shape.in) + "x" + std::to_string(shape.out);
      const auto flops = [&](const char* what, const std::function<void()>& call) {
        report(name + what, work / seconds(call), "TFLOP/s");
      };
      flops(".forward", [&] { ops_.linear_forward(input, weight, bias, {}, output); });
      flops(".input_grad", [&] { ops_.linear_input_grad(output, weight, grad_input); });
      flops(".weight_grad", [&] { ops_.linear_weight_grad(output, input, grad_weight, {}); });
      flops(".weight_and_bias_grad",
            [&] { ops_.linear_weight_grad(output, input, grad_weight, grad_bias); });
      flops(".forward_gelu_fused",
            [&] { ops_.linear_gelu_forward(input, weight, bias, output, activated); });
      flops(".forward_gelu_apart", [&] {
        ops_.linear_forward(input, weight, bias, {}, output);
        ops_.gelu_forward(output, activated);
      });
      free_all();
    }
  }

  struct Problem {
    std::int64_t micro_batch, query_start, tokens, heads, kv_heads, head_dim;
  };
  static double pairs(const Problem& p) {
    const auto tokens = static_cast<double>(p.tokens);
    return static_cast<double>(p.micro_batch * p.heads) *
           (tokens * static_cast<double>(p.query_start) + tokens * (tokens + 1) / 2);
  }
  void attention() {
    std::vector<Problem> problems;
    if (choice_.tiny) {
      problems = {{1, 0, 128, 2, 2, 64}, {1, 64, 64, 2, 1, 64}};
    } else {
      for (std::int64_t length : {2048, 4096, 8192, 16384})
        problems.push_back({1, 0, length, 32, 32, 128});
      problems.push_back({1, 0, 32768, 32, 32, 128});
      // The last segment of eight, and the square of as much work (4096 x 30720 + triangle).
      problems.push_back({1, 28672, 4096, 32, 32, 128});
      problems.push_back({1, 0, 15872, 32, 32, 128});
      problems.push_back({1, 0, 8192, 64, 8, 128});  // grouped queries
      for (std::int64_t dim : {64, 80, 96, 256})
        problems.push_back({1, 0, 8192, 2048 / dim * 2, 2048 / dim * 2, dim});
      problems.push_back({1, 15360, 1024, 4, 4, 128});  // few tiles, many keys
    }
    for (const Problem& p : problems) {
      const std::int64_t length = p.query_start + p.tokens;
      const Shape queries = {p.micro_batch, p.tokens, p.heads, p.head_dim};
      const Shape keys = {p.micro_batch, p.kv_heads, length, p.head_dim};
      const Tensor query = noise(queries), key = noise(keys), value = noise(keys),
                   output = space(queries), grad_output = noise(queries),
                   grad_query = space(queries), grad_key = noise(keys, Dtype::kF32),
                   grad_value = noise(keys, Dtype::kF32),
                   statistics = space({p.micro_batch, p.heads, p.tokens}, Dtype::kF32);
      const AttentionRange range{p.query_start, 0, length, nullptr};
      const double scale = 1 / std::sqrt(static_cast<double>(p.head_dim));
      const double unit = 1e-12 * pairs(p) * static_cast<double>(p.head_dim);
      const std::string name = std::string(choice_.cudnn ? "cudnn." : "") + "attention.d" +
                               std::to_string(p.head_dim) + ".h" + std::to_string(p.heads) + "_" +
                               std::to_string(p.kv_heads) + ".q" + std::to_string(p.tokens) + ".k" +
                               std::to_string(length);
      const auto forward = [&] {
        ops_.attention_forward(query, key, value, range, scale, output, statistics);
      };
      if (choice_.fast)
        forward();  // what backward starts from; there is one variant of it
      else
        report(name + ".forward", 4 * unit / seconds(forward), "TFLOP/s");
      report(name + (choice_.fast ? ".backward_fast" : ".backward"),
             10 * unit / seconds([&] {
               ops_.attention_backward(grad_output, query, key, value, output, statistics, range,
                                       scale, grad_query, grad_key, grad_value, Accumulate::kAdd);
             }),
             "TFLOP/s");
      free_all();
    }
  }

  Choice choice_;
  Backend backend_;
  Ops& ops_;
  DeviceBuffer scratch_;
  std::vector<DeviceBuffer> memory_;
  double copy_rate_ = 0;
};

// Which device, how many there are, which libraries; throws where none can be used.
void describe_device() {
  const Backend backend = cuda::make_cuda_backend({.compute = Dtype::kBf16});
  std::printf("device\t%s\ndevices\t%d\nlibraries\t%s\n", backend.device->description().c_str(),
              cuda::device_count(), cuda::load_module()->libraries().c_str());
  std::fflush(stdout);
}

}  // namespace

int main(int count, char** arguments) {
  Choice choice;
  bool only_device = false;
  const std::map<std::string, bool*> switches{
      {"--tiny", &choice.tiny},        {"--fast", &choice.fast},   {"--cudnn", &choice.cudnn},
      {"--device", &only_device},      {"memory", &choice.memory}, {"products", &choice.products},
      {"attention", &choice.attention}};
  for (int i = 1; i < count; ++i) {
    const auto found = switches.find(arguments[i]);
    if (found == switches.end()) {
      std::fprintf(stderr,
                   "usage: cuda_kernels [--tiny] [--fast] [--cudnn] [--device] [memory] [products] "
                   "[attention]\n");
      return 2;
    }
    *found->second = true;
  }
  if (!choice.memory && !choice.products && !choice.attention) {
    choice.memory = choice.products = !choice.cudnn;  // cuDNN computes attention alone
    choice.attention = true;
  }
  try {
    describe_device();
    if (!only_device) Bench(choice).run();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "cuda_kernels: %s\n", error.what());
    const auto* own = dynamic_cast<const seq1f1b::Error*>(&error);
    return own ? own->code() : 1;
  }
  return 0;
}

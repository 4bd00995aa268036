// fill, copy, cast, accumulate.
//
// Bytes per element: fill writes it once; copy and cast read and write it once; accumulate reads
// two fp32 and writes one. All are bound by memory. Mapping: ranges of elements in a loop with the
// grid's stride; fill and copy know no type and move the widest words that the addresses allow.
// Deterministic: elements are independent.
#include <cstring>

#include "kernels/cuda/device_code/map.h"
#include "kernels/cuda/kernels.h"

namespace seq1f1b::kernels::cuda {
namespace {

constexpr int kThreads = 256, kUnroll = 4;

// Behind the last whole word, at most 7 of these remain: every dtype has an even size.
using Rest = std::uint16_t;

template <class Word>
__global__ void __launch_bounds__(kThreads)
    fill_kernel(Word word, std::int64_t words, Word* output, Rest rest_low, Rest rest_high,
                Rest* rest_output, int rest) {
  const std::int64_t stride = static_cast<std::int64_t>(gridDim.x) * kThreads;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < words;
       i += stride)
    access_as<Word>(output + i) = word;
  const int r = threadIdx.x;
  if (blockIdx.x == 0 && r < rest) rest_output[r] = r % 2 == 0 ? rest_low : rest_high;
}

template <class Word>
__global__ void __launch_bounds__(kThreads)
    copy_kernel(const Word* input, std::int64_t words, Word* output, const Rest* rest_input,
                Rest* rest_output, int rest) {
  constexpr std::int64_t kTile = kThreads * kUnroll;
  for (std::int64_t begin = blockIdx.x * kTile + threadIdx.x; begin < words;
       begin += gridDim.x * kTile) {
    Word held[kUnroll];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u)
      if (begin + u * kThreads < words)
        held[u] = access_as<const Word>(input + begin + u * kThreads);
#pragma unroll
    for (int u = 0; u < kUnroll; ++u)
      if (begin + u * kThreads < words) access_as<Word>(output + begin + u * kThreads) = held[u];
  }
  if (blockIdx.x == 0 && threadIdx.x < static_cast<unsigned>(rest))
    rest_output[threadIdx.x] = rest_input[threadIdx.x];
}

// Calls `use` with a value of the widest word that all `tensors` are aligned to.
template <class Use, class... Tensors>
void with_word(Use use, const Tensors&... tensors) {
  if (aligned_to(16, tensors...))
    use(uint4{});
  else if (aligned_to(8, tensors...))
    use(uint2{});
  else if (aligned_to(4, tensors...))
    use(std::uint32_t{});
  else
    use(std::uint16_t{});
}

// The bytes of `value` in `dtype`, again and again.
void make_pattern(Dtype dtype, double value, unsigned char (&pattern)[16]) {
  const auto repeat = [&](auto element) {
    for (std::size_t at = 0; at < sizeof pattern; at += sizeof element)
      std::memcpy(pattern + at, &element, sizeof element);
  };
  switch (dtype) {
    case Dtype::kF64:
      return repeat(value);
    case Dtype::kF32:
      return repeat(static_cast<float>(value));
    case Dtype::kBf16:
      return repeat(Bf16(static_cast<float>(value)));
    case Dtype::kI32:
      return repeat(static_cast<std::int32_t>(value));
  }
}

struct Same {
  __device__ __forceinline__ float operator()(float x) const { return x; }
};
struct Add {
  __device__ __forceinline__ float operator()(float x, float y) const { return x + y; }
};

}  // namespace

void fill(Context& context, const Tensor& output, double value) {
  if (output.bytes() == 0) return;
  unsigned char pattern[16];
  make_pattern(output.dtype, value, pattern);
  Rest rest_pattern[2];
  std::memcpy(rest_pattern, pattern, sizeof rest_pattern);
  with_word(
      [&](auto word) {
        using Word = decltype(word);
        std::memcpy(&word, pattern, sizeof word);
        const auto words = static_cast<std::int64_t>(output.bytes() / sizeof(Word));
        const auto rest = static_cast<int>(output.bytes() % sizeof(Word) / sizeof(Rest));
        const std::int64_t tiles = std::max<std::int64_t>(1, ceil_div(words, kThreads * kUnroll));
        SEQ1F1B_LAUNCH((fill_kernel<Word>), loop_grid(context, tiles), kThreads, 0, context.stream,
                       word, words, output.as<Word>(), rest_pattern[0], rest_pattern[1],
                       reinterpret_cast<Rest*>(output.as<Word>() + words), rest);
      },
      output);
}

void copy(Context& context, const Tensor& input, const Tensor& output) {
  if (output.bytes() == 0) return;
  with_word(
      [&](auto word) {
        using Word = decltype(word);
        const auto words = static_cast<std::int64_t>(output.bytes() / sizeof(Word));
        const auto rest = static_cast<int>(output.bytes() % sizeof(Word) / sizeof(Rest));
        const std::int64_t tiles = std::max<std::int64_t>(1, ceil_div(words, kThreads * kUnroll));
        SEQ1F1B_LAUNCH((copy_kernel<Word>), loop_grid(context, tiles), kThreads, 0, context.stream,
                       input.as<const Word>(), words, output.as<Word>(),
                       reinterpret_cast<const Rest*>(input.as<const Word>() + words),
                       reinterpret_cast<Rest*>(output.as<Word>() + words), rest);
      },
      input, output);
}

void cast(Context& context, const Tensor& input, const Tensor& output) {
  if (input.dtype == output.dtype)
    copy(context, input, output);
  else if (input.dtype == Dtype::kBf16)
    map<Bf16, float>(context, Same{}, input, {}, output);
  else
    map<float, Bf16>(context, Same{}, input, {}, output);
}

void accumulate(Context& context, const Tensor& input, const Tensor& output) {
  map<float, float>(context, Add{}, output, input, output);
}

}  // namespace seq1f1b::kernels::cuda

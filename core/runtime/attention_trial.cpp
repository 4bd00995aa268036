#include "core/runtime/attention_trial.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "core/base/text.h"
#include "core/model/arena_layout.h"
#include "kernels/common/bf16.h"
#include "kernels/common/errors.h"
#include "kernels/common/philox.h"

namespace seq1f1b::runtime {

using kernels::Tensor;

AttentionTrial::AttentionTrial(const plan::JobPlan& job, kernels::Backend& backend,
                               std::span<std::byte> memory, std::int64_t tokens,
                               std::int64_t key_length)
    : backend_(backend), scale_(1 / std::sqrt(static_cast<double>(job.spec.head_dim))) {
  const model::ModelSpec& spec = job.spec;
  const std::int64_t sequences = job.config.training.micro_batch_size;
  const std::int64_t capacity = job.config.training.seq_length;
  range_ = {.query_start = key_length - tokens, .key_start = 0, .key_length = key_length};
  // The last segment is the first to come back.
  mode_ = key_length == capacity ? kernels::Accumulate::kOverwrite : kernels::Accumulate::kAdd;
  model::ArenaLayout arena(memory.data());
  const auto queries = [&] {
    return arena.take(backend.compute, {sequences, tokens, spec.heads, spec.head_dim});
  };
  const auto keys = [&](kernels::Dtype dtype) {
    return arena.take(dtype, {sequences, spec.kv_heads, capacity, spec.head_dim});
  };
  query_ = queries();
  output_ = queries();
  grad_output_ = queries();
  grad_query_ = queries();
  log_sum_exp_ = arena.take(backend.accumulate, {sequences, spec.heads, tokens});
  key_ = keys(backend.compute);
  value_ = keys(backend.compute);
  grad_key_ = keys(backend.accumulate);
  grad_value_ = keys(backend.accumulate);
  SEQ1F1B_ASSERT(arena.used() <= memory.size(), "attention needs ", arena.used(), " of ",
                 memory.size(), " bytes");
}

void AttentionTrial::fill() {
  for (const Tensor& tensor : {query_, key_, value_, grad_output_}) fill_with_noise(tensor);
  for (const Tensor& tensor : {grad_key_, grad_value_}) backend_.ops->fill(tensor, 0);
}

void AttentionTrial::prepare(std::size_t reserved_bytes) {
  backend_.ops->prepare_attention(query_, key_, range_);
  const std::size_t free = backend_.device->free_bytes();
  if (free > 0 && free < reserved_bytes)
    throw Error(kExitUnexpected,
                concat("it leaves ", base::bytes_text(free), " of device memory, of which ",
                       base::bytes_text(reserved_bytes), " are needed"));
}

void AttentionTrial::run(std::uint64_t key) {
  backend_.device->replay(key, [&] {
    backend_.ops->attention_forward(query_, key_, value_, range_, scale_, output_, log_sum_exp_);
    backend_.ops->attention_backward(grad_output_, query_, key_, value_, output_, log_sum_exp_,
                                     range_, scale_, grad_query_, grad_key_, grad_value_, mode_);
  });
}

double AttentionTrial::seconds(std::uint64_t key) {
  constexpr int kBegin = 0, kEnd = 1;
  backend_.device->stamp(kBegin);
  run(key);
  backend_.device->stamp(kEnd);
  backend_.device->synchronize();
  return backend_.device->seconds_between(kBegin, kEnd);
}

// A piece comes from the host and is copied until the tensor is full.
void AttentionTrial::fill_with_noise(const Tensor& tensor) {
  constexpr std::size_t kMostValues = std::size_t{1} << 18;
  const std::size_t width = kernels::dtype_bytes(tensor.dtype), bytes = tensor.bytes();
  const std::size_t count = std::min(bytes / width, kMostValues);
  std::vector<std::byte> piece(count * width);
  for (std::size_t i = 0; i < count; ++i) {
    const double value = 2 * kernels::philox_uniform(kernels::philox(0, i)[0]) - 1;
    const auto put = [&](auto typed) {
      std::memcpy(piece.data() + i * width, &typed, sizeof typed);
    };
    switch (tensor.dtype) {
      case kernels::Dtype::kBf16:
        put(kernels::Bf16(static_cast<float>(value)));
        break;
      case kernels::Dtype::kF32:
        put(static_cast<float>(value));
        break;
      default:
        put(value);
        break;
    }
  }
  auto* const data = static_cast<std::byte*>(tensor.data);
  backend_.device->upload(data, piece.data(), piece.size());
  for (std::size_t full = piece.size(); full < bytes;) {
    const std::size_t next = std::min(full, bytes - full);
    backend_.device->copy(data + full, data, next);
    full += next;
  }
}

}  // namespace seq1f1b::runtime

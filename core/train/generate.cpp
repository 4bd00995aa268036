#include "core/train/generate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/checkpoint/parameters_io.h"
#include "kernels/common/errors.h"
#include "kernels/common/philox.h"
#include "kernels/common/widen.h"

namespace seq1f1b::train {

using kernels::Dtype;
using kernels::Tensor;
using model::aligned;
using schedule::Lifetime;

std::int32_t choose_token(std::span<const double> logits, const Sampling& sampling,
                          double uniform) {
  if (sampling.vocabulary > 0) logits = logits.first(static_cast<std::size_t>(sampling.vocabulary));
  const auto larger = [&](std::int32_t a, std::int32_t b) {
    const double x = logits[static_cast<std::size_t>(a)], y = logits[static_cast<std::size_t>(b)];
    return x != y ? x > y : a < b;
  };
  std::vector<std::int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::size_t kept =
      sampling.temperature <= 0 ? 1
      : sampling.top_k > 0
          ? std::min<std::size_t>(static_cast<std::size_t>(sampling.top_k), order.size())
          : order.size();
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(kept), order.end(),
                    larger);
  if (kept == 1) return order.front();
  order.resize(kept);
  const double highest = logits[static_cast<std::size_t>(order.front())];
  std::vector<double> cumulative;
  double sum = 0;
  for (std::int32_t token : order) {
    sum += std::exp((logits[static_cast<std::size_t>(token)] - highest) / sampling.temperature);
    cumulative.push_back(sum);
  }
  const auto found = std::lower_bound(cumulative.begin(), cumulative.end(), uniform * sum);
  const auto index = static_cast<std::size_t>(found - cumulative.begin());
  return order[std::min(index, kept - 1)];
}

Generator::Generator(const config::ModelConfig& model, checkpoint::Reader& reader,
                     kernels::Backend& backend, std::int64_t capacity)
    : backend_(backend), spec_(model::model_spec(model)), capacity_(capacity) {
  if (spec_.positions > 0) capacity_ = std::min(capacity_, spec_.positions);
  const model::Precision precision{backend.compute, backend.accumulate};
  const model::StageLayers all = model::stage_layers(spec_.layers, 1, 0);
  parameters::Layout layout(model::parameter_table(spec_),
                            [](const parameters::Use&) { return true; });
  const parameters::StoreBytes weights = parameters::store_bytes(
      layout, backend.compute, backend.accumulate, parameters::Purpose::kInference);

  const model::Stage sizes(spec_, all, precision, {});
  const model::SegmentShape longest = shape(0, capacity_);
  const std::size_t unit = sizes.bytes(Lifetime::kActivations, longest);
  const std::size_t carry = sizes.bytes(Lifetime::kCarry, longest);
  const std::size_t workspace = sizes.next_token_workspace_bytes(longest);
  const std::size_t token_bytes =
      aligned(static_cast<std::size_t>(capacity_) * sizeof(std::int32_t));
  const std::size_t logit_bytes =
      aligned(static_cast<std::size_t>(spec_.vocab) * kernels::dtype_bytes(backend.compute));
  arena_ = kernels::DeviceBuffer(
      *backend.device, weights.total() + unit + carry + workspace + token_bytes + logit_bytes);
  std::byte* next = arena_.data();
  const auto take = [&](std::size_t bytes) {
    std::byte* section = next;
    next += bytes;
    return section;
  };
  store_ =
      std::make_unique<parameters::Store>(std::move(layout), backend.compute, backend.accumulate,
                                          parameters::Purpose::kInference, take(weights.total()));
  storage_[Lifetime::kActivations] = take(unit);
  storage_[Lifetime::kCarry] = take(carry);
  storage_[Lifetime::kWorkspace] = take(workspace);
  tokens_ = reinterpret_cast<std::int32_t*>(take(token_bytes));
  logits_ = take(logit_bytes);
  checkpoint::load_parameters(reader, *store_, *backend.device, *backend.ops);
  stage_ =
      std::make_unique<model::Stage>(spec_, all, precision, schedule::FeatureSet{}, store_.get());
}

Generator::~Generator() = default;

model::SegmentShape Generator::shape(std::int64_t start, std::int64_t tokens) const {
  return {.batch_size = 1, .start = start, .tokens = tokens, .capacity = capacity_};
}

std::vector<double> Generator::next_logits(std::span<const std::int32_t> tokens,
                                           std::int64_t start) {
  const auto count = static_cast<std::int64_t>(tokens.size());
  SEQ1F1B_ASSERT(count > 0 && start + count <= capacity_, "sequence of ", start + count, " tokens");
  backend_.device->upload(tokens_, tokens.data(), tokens.size_bytes());
  model::StageCall call;
  call.shape = shape(start, count);
  call.storage = storage_;
  call.input.tokens = Tensor(tokens_, Dtype::kI32, {1, count});
  const Tensor logits(logits_, backend_.compute, {1, spec_.vocab});
  stage_->next_token_logits(*backend_.ops, call, logits);
  std::vector<std::byte> host(logits.bytes());
  backend_.device->download(host.data(), logits.data, host.size());
  std::vector<double> result(static_cast<std::size_t>(spec_.vocab));
  kernels::widen(backend_.compute, host.data(), result);
  return result;
}

int Generator::generate(std::span<const std::int32_t> prompt, const Sampling& sampling,
                        const std::function<void(std::int32_t)>& token) {
  std::vector<std::int32_t> pending(prompt.begin(), prompt.end());
  std::int64_t start = 0;
  int drawn = 0;
  while (drawn < sampling.tokens &&
         start + static_cast<std::int64_t>(pending.size()) <= capacity_) {
    const std::vector<double> logits = next_logits(pending, start);
    start += static_cast<std::int64_t>(pending.size());
    const auto bits = kernels::philox(sampling.seed, static_cast<std::uint64_t>(drawn));
    const std::int32_t next = choose_token(logits, sampling, kernels::philox_uniform(bits[0]));
    token(next);
    ++drawn;
    pending.assign(1, next);
  }
  return drawn;
}

}  // namespace seq1f1b::train

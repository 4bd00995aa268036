#pragma once
// Text from a checkpoint, on one rank. The prompt runs as one segment, every further token as a
// segment of length one, through the same carry that training pipelines.
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/checkpoint/directory.h"
#include "core/config/config.h"
#include "core/data/tokenizer.h"
#include "core/model/stage.h"
#include "kernels/device.h"

namespace seq1f1b::train {

struct Sampling {
  int tokens = 200;
  double temperature = 1.0;  // 0: always the likeliest token
  int top_k = 0;             // 0: all tokens
  int vocabulary = 0;        // tokens below this may be drawn (a model's can be padded); 0: all
  std::uint64_t seed = 1234;
};

// Draws from softmax(logits / temperature) over the top_k largest, with `uniform` in (0, 1). Ties
// are broken by the lower token. Deterministic.
std::int32_t choose_token(std::span<const double> logits, const Sampling& sampling, double uniform);

class Generator {
 public:
  // Loads the weights of `reader`; `model` is the resolved section of its configuration. A
  // sequence, prompt included, has at most `capacity` tokens.
  Generator(const config::ModelConfig& model, checkpoint::Reader& reader, kernels::Backend& backend,
            std::int64_t capacity);
  ~Generator();

  // Logits of the token after `tokens`, which continue the sequence at `start`.
  std::vector<double> next_logits(std::span<const std::int32_t> tokens, std::int64_t start);

  // Continues the prompt (not empty) and hands every new token over as it is drawn; stops at the
  // capacity. Returns how many were drawn.
  int generate(std::span<const std::int32_t> prompt, const Sampling& sampling,
               const std::function<void(std::int32_t)>& token);

 private:
  model::SegmentShape shape(std::int64_t start, std::int64_t tokens) const;

  kernels::Backend& backend_;
  model::ModelSpec spec_;
  std::int64_t capacity_;
  kernels::DeviceBuffer arena_;
  std::unique_ptr<parameters::Store> store_;
  std::unique_ptr<model::Stage> stage_;
  model::StageStorage storage_;
  std::int32_t* tokens_ = nullptr;  // device, [capacity]
  std::byte* logits_ = nullptr;     // device, [vocab] of the compute type
};

}  // namespace seq1f1b::train

#pragma once
// A small checkpoint whose contents follow from one number, so that a reader can tell which of two
// saves it has before it and that nothing of the other is mixed in.
#include <cstdint>
#include <string>
#include <vector>

#include "core/checkpoint/directory.h"

namespace seq1f1b::testing {

inline constexpr int kExampleFiles = 2;

inline std::string example_file(int file) { return "layers.000" + std::to_string(file); }

// Element i of file f is 1000 * content + 100 * f + i.
inline std::vector<float> example_values(int content, int file) {
  std::vector<float> values;
  for (int i = 0; i < 6; ++i) values.push_back(static_cast<float>(1000 * content + 100 * file + i));
  return values;
}

inline void write_example_file(checkpoint::Writer& writer, int content, int file) {
  const auto values = example_values(content, file);
  const std::string name = "layers." + std::to_string(file) + ".weight";
  writer.write(example_file(file),
               {{name, kernels::Dtype::kF32, {2, 3}, std::as_bytes(std::span(values))}});
}

inline checkpoint::TrainingState example_state(std::int64_t step, int content) {
  checkpoint::TrainingState state;
  state.step = step;
  state.consumed_samples = content;
  state.consumed_tokens = 10 * content;
  state.model_json = R"({"num_layers":2,"hidden_size":3})";
  state.extra_json = R"({"tuned":[1,2]})";
  return state;
}

struct ExampleOptions {
  int keep_last = 0;
  std::int64_t keep_every = 0;
  base::DiskObserver observer = {};
  std::int64_t course = 0;
};

// One rank saves `content` as step `step`.
std::string save_example(const std::string& run, std::int64_t step, int content,
                         const ExampleOptions& options = {});

// Reads every byte and returns the content; throws DataError for damage and std::runtime_error when
// two saves are mixed.
int read_example(const std::string& path);

}  // namespace seq1f1b::testing

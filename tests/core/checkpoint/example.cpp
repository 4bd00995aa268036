#include "tests/core/checkpoint/example.h"

#include <cstring>
#include <stdexcept>

#include "tests/core/checkpoint/solo_group.h"

namespace seq1f1b::testing {

std::string save_example(const std::string& run, std::int64_t step, int content,
                         const ExampleOptions& options) {
  SoloGroup group;
  checkpoint::Writer writer(run, step, group, options.observer);
  for (int file = 0; file < kExampleFiles; ++file) write_example_file(writer, content, file);
  checkpoint::TrainingState state = example_state(step, content);
  state.course = options.course;
  return writer.commit(state, {{"note.txt", "content " + std::to_string(content)}},
                       options.keep_last, options.keep_every);
}

int read_example(const std::string& path) {
  checkpoint::Reader reader(path);
  const auto content = static_cast<int>(reader.state().consumed_samples);
  if (reader.attachment("note.txt") != "content " + std::to_string(content))
    throw std::runtime_error(path + ": another save's attachment");
  for (int file = 0; file < kExampleFiles; ++file) {
    const auto expected = example_values(content, file);
    const auto& tensor = reader.tensor("layers." + std::to_string(file) + ".weight");
    if (tensor.data.size() != expected.size() * sizeof(float) ||
        std::memcmp(tensor.data.data(), expected.data(), tensor.data.size()) != 0)
      throw std::runtime_error(path + ": another save's tensor");
  }
  return content;
}

}  // namespace seq1f1b::testing

#pragma once
// Real runs of one rank and a tiny model, each in a folder of its own, over data prepared once.
#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/apps/run_program.h"
#include "tests/support/temporary_folder.h"

namespace seq1f1b::apps {

class TinyRun {
 public:
  // In the folder, with "train OVERRIDES..." for a run of the prepared data into run/, two steps
  // long unless the overrides say otherwise.
  Outcome shell(const std::string& command) const {
    return run_shell(
        "cd '" + folder.path() +
        "' && train() { seq1f1b train '" SEQ1F1B_SOURCE_DIR "/configs/tiny_cpu.yaml' data.train='" +
        data() +
        "' data.split=80,20,0 checkpoint.directory=run "
        "parallel.pipeline_model_parallel_size=1 training.seq_length=64 "
        "training.global_batch_size=2 training.train_iters=2 training.eval_iters=1 "
        "optimizer.lr_warmup_iters=1 runtime.device=cpu runtime.threads=1 \"$@\"; }; " +
        command);
  }
  Outcome train(const std::string& overrides) const { return shell("train " + overrides); }

  // What lies in run/checkpoints.
  std::vector<std::string> checkpoints() const {
    std::vector<std::string> names;
    std::error_code missing;
    for (const auto& entry :
         std::filesystem::directory_iterator(folder.file("run/checkpoints"), missing))
      names.push_back(entry.path().filename());
    std::ranges::sort(names);
    return names;
  }
  std::string file(const std::string& name) const {
    return testing::read_bytes(folder.file("run/" + name));
  }

  testing::TemporaryFolder folder;

 private:
  static std::string data() {
    static const testing::TemporaryFolder prepared;
    static const Outcome outcome =
        run_shell("cd '" + prepared.path() +
                  "' && for i in $(seq 300); do echo \"line $i: some words $((i * 7919 % 1009))\"; "
                  "done > text.txt && seq1f1b prepare text.txt --output text --tokenizer bytes");
    if (outcome.code != 0) throw std::runtime_error(outcome.output);
    return prepared.file("text");
  }
};

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace seq1f1b::apps

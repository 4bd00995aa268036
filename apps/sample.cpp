// `seq1f1b sample`: text from a checkpoint of any layout, on one rank.
#include <iostream>
#include <memory>
#include <optional>
#include <vector>

#include "apps/commands.h"
#include "apps/launch.h"
#include "core/base/cores.h"
#include "core/base/files.h"
#include "core/checkpoint/directory.h"
#include "core/config/load.h"
#include "core/train/generate.h"
#include "kernels/common/errors.h"

namespace seq1f1b::apps {
namespace {

// What is needed of a checkpoint, read as a whole.
struct Model {
  Model(const std::string& path, const SampleArguments& arguments, kernels::Backend& backend) {
    checkpoint::Reader reader(path);
    const config::ModelConfig model = config::load_saved(reader.attachment("config.resolved.yaml"),
                                                         reader.path() + "/config.resolved.yaml")
                                          .config.model;
    if (!reader.has_attachment("tokenizer.json"))
      throw DataError(
          concat(reader.path(), " has no tokenizer: it was trained on token files alone"));
    tokenizer = data::tokenizer_from_json(reader.attachment("tokenizer.json"),
                                          reader.path() + "/tokenizer.json");
    // A document begins behind the end of another one.
    prompt.push_back(tokenizer->end_of_document());
    for (std::int32_t token : tokenizer->encode(arguments.prompt)) prompt.push_back(token);
    if (model.position_embedding == "learned" &&
        static_cast<std::int64_t>(prompt.size()) > model.max_position_embeddings)
      throw ConfigError(concat("the prompt has ", prompt.size(), " tokens, the model ",
                               model.max_position_embeddings, " positions"));
    const auto capacity = static_cast<std::int64_t>(prompt.size()) + arguments.tokens;
    generator = std::make_unique<train::Generator>(model, reader, backend, capacity);
  }

  std::unique_ptr<data::Tokenizer> tokenizer;
  std::vector<std::int32_t> prompt;
  std::unique_ptr<train::Generator> generator;
};

// From a checkpoint folder as it is, or the newest complete one of a run directory.
Model load(const SampleArguments& arguments, kernels::Backend& backend) {
  const std::string& path = arguments.checkpoint;
  if (base::exists(path + "/COMPLETE")) return {path, arguments, backend};
  std::optional<Model> model;
  const bool found = checkpoint::use_latest(
      path, [](const std::string& notice) { std::cerr << notice << "\n"; },
      [&](const std::string& latest) { model.emplace(latest, arguments, backend); });
  if (!found) throw DataError(concat(path, ": neither a checkpoint nor a run directory with one"));
  return std::move(*model);
}

}  // namespace

int run_sample(const SampleArguments& arguments) {
  const int threads = arguments.threads > 0 ? arguments.threads : base::available_cores();
  kernels::Backend backend = kernels::make_cpu_backend(threads);
  const Model model = load(arguments, backend);
  std::cout << arguments.prompt << std::flush;
  model.generator->generate(model.prompt,
                            {.tokens = arguments.tokens,
                             .temperature = arguments.temperature,
                             .top_k = arguments.top_k,
                             .vocabulary = model.tokenizer->vocab_size(),
                             .seed = arguments.seed},
                            [&](std::int32_t token) {
                              std::cout << model.tokenizer->decode(std::span(&token, 1))
                                        << std::flush;
                              require_output();  // nobody would read the rest
                            });
  std::cout << "\n";
  return kExitComplete;
}

}  // namespace seq1f1b::apps

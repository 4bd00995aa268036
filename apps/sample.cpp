// `seq1f1b sample`: text from a checkpoint of any layout, on one rank.
#include <filesystem>
#include <iostream>

#include "apps/commands.h"
#include "core/base/cores.h"
#include "core/checkpoint/directory.h"
#include "core/config/load.h"
#include "core/train/generate.h"
#include "kernels/common/errors.h"

namespace seq1f1b::apps {
namespace {

// A checkpoint folder as it is, or the newest complete one of a run directory.
std::string checkpoint_path(const std::string& path) {
  if (std::filesystem::exists(path + "/COMPLETE")) return path;
  std::string notice;
  const auto latest = checkpoint::find_latest(path, &notice);
  if (!notice.empty()) std::cerr << notice << "\n";
  if (!latest) throw DataError(concat(path, ": neither a checkpoint nor a run directory with one"));
  return *latest;
}

}  // namespace

int run_sample(const SampleArguments& arguments) {
  checkpoint::Reader reader(checkpoint_path(arguments.checkpoint));
  const config::Loaded loaded = config::load_saved(reader.attachment("config.resolved.yaml"),
                                                   reader.path() + "/config.resolved.yaml");
  if (!reader.has_attachment("tokenizer.json"))
    throw DataError(
        concat(reader.path(), " has no tokenizer: it was trained on token files alone"));
  const auto tokenizer = data::tokenizer_from_json(reader.attachment("tokenizer.json"),
                                                   reader.path() + "/tokenizer.json");
  const int threads = arguments.threads > 0 ? arguments.threads : base::available_cores();
  kernels::Backend backend = kernels::make_cpu_backend(threads);

  // A document begins behind the end of another one.
  std::vector<std::int32_t> prompt{tokenizer->end_of_document()};
  for (std::int32_t token : tokenizer->encode(arguments.prompt)) prompt.push_back(token);
  const auto capacity = static_cast<std::int64_t>(prompt.size()) + arguments.tokens;
  train::Generator generator(loaded.config.model, reader, backend, capacity);
  if (loaded.config.model.position_embedding == "learned" &&
      static_cast<std::int64_t>(prompt.size()) > loaded.config.model.max_position_embeddings)
    throw ConfigError(concat("the prompt has ", prompt.size(), " tokens, the model ",
                             loaded.config.model.max_position_embeddings, " positions"));

  std::cout << arguments.prompt << std::flush;
  generator.generate(prompt,
                     {.tokens = arguments.tokens,
                      .temperature = arguments.temperature,
                      .top_k = arguments.top_k,
                      .vocabulary = tokenizer->vocab_size(),
                      .seed = arguments.seed},
                     [&](std::int32_t token) {
                       std::cout << tokenizer->decode(std::span(&token, 1)) << std::flush;
                     });
  std::cout << "\n";
  return kExitComplete;
}

}  // namespace seq1f1b::apps

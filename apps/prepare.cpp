// seq1f1b prepare: a text becomes PREFIX.bin, PREFIX.idx and PREFIX.tokenizer.json.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "apps/commands.h"
#include "apps/input_text.h"
#include "core/base/clock.h"
#include "core/base/files.h"
#include "core/base/user_path.h"
#include "core/data/corpus.h"
#include "core/data/token_file.h"
#include "core/data/tokenizer.h"
#include "kernels/common/errors.h"

namespace seq1f1b::apps {
namespace {

// More threads than this wait for the one that writes.
constexpr unsigned kMostThreads = 16;

std::unique_ptr<data::Tokenizer> make_tokenizer(const PrepareArguments& arguments,
                                                std::string_view text, int threads) {
  const std::string& choice = arguments.tokenizer;
  const std::string& separator = arguments.document_separator;
  if (choice == "bytes") return data::make_byte_tokenizer(separator);
  if (choice == "sentencepiece")
    return data::train_sentencepiece(text, arguments.vocab_size, separator, threads);
  if (choice.ends_with(".model")) return data::load_sentencepiece(choice, separator);
  if (!choice.ends_with(".json"))
    throw ConfigError(
        concat("--tokenizer: '", choice,
               "' is not bytes, sentencepiece, a .model file or a .tokenizer.json file"));
  auto tokenizer = data::load_tokenizer(choice);
  // The end of a document decodes to the separator that the tokenizer file names; splitting this
  // text at another one would restore something else.
  const std::int32_t end = tokenizer->end_of_document();
  if (tokenizer->decode({&end, 1}) != separator)
    throw ConfigError(concat("--document-separator: ", choice, " was made with another separator (",
                             tokenizer->token_bytes(end), " bytes long); give the same one"));
  return tokenizer;
}

// Whoever names a folder does not mean files beside it that are named like it.
void require_prefix(const std::string& output) {
  const std::string name = std::filesystem::path(output).filename().string();
  std::error_code unknown;  // then making the files fails, in words
  const bool folder = std::filesystem::is_directory(output, unknown);
  if (!folder && !name.empty() && name != "." && name != "..") return;
  throw ConfigError(
      concat("--output: '", output, "' is ", folder ? "a folder, " : "",
             "not the prefix of files; name one, like ",
             folder ? (std::filesystem::path(output) / "corpus").string() : "data/corpus"));
}

}  // namespace

int run_prepare(const PrepareArguments& arguments) {
  const double start = base::monotonic_seconds();
  const int threads =
      static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, kMostThreads));
  require_prefix(arguments.output);
  if (const std::string problem = base::path_problem(arguments.output); !problem.empty())
    throw ConfigError("--output: " + problem);
  const InputText input(arguments);
  const auto folder = std::filesystem::path(arguments.output).parent_path();
  if (!folder.empty()) base::Disk().make_directory(folder.string());

  // Trained on the whole text: which documents are held out is only decided when a run opens the
  // files.
  const auto tokenizer = make_tokenizer(arguments, input.text(), threads);
  data::TokenFileWriter writer(arguments.output, tokenizer->vocab_size());
  const auto counts =
      data::encode_corpus(input.text(), arguments.document_separator, *tokenizer, threads, writer);
  if (counts.documents == 0)
    throw DataError(concat(arguments.input, ": holds document separators only, no document"));
  writer.finish(tokenizer.get());

  const std::string empty =
      counts.empty_documents == 0 ? "" : concat(" (", counts.empty_documents, " empty left out)");
  char rates[64];
  std::snprintf(rates, sizeof rates, "%.2f bytes per token, %.1f s",
                static_cast<double>(counts.bytes) / static_cast<double>(counts.tokens),
                base::monotonic_seconds() - start);
  std::cout << "prepared " << arguments.output << ": " << counts.documents << " documents" << empty
            << ", " << counts.tokens << " tokens of a vocabulary of " << tokenizer->vocab_size()
            << ", " << rates << (input.notes().empty() ? "" : "; " + input.notes()) << "\n";
  return kExitComplete;
}

}  // namespace seq1f1b::apps

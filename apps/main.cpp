// The command line. Only this file knows the parser.
#include <fcntl.h>
#include <unistd.h>
#include <CLI/CLI.hpp>

#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <functional>
#include <iostream>
#include <memory>
#include <string>
#include <type_traits>

#include "apps/commands.h"
#include "apps/launch.h"
#include "apps/text_escapes.h"
#include "core/base/files.h"
#include "core/config/load.h"
#include "core/config/schema.h"
#include "kernels/common/build_identity.h"
#include "kernels/common/errors.h"
#include "kernels/device.h"

namespace seq1f1b::apps {
namespace {

using Command = std::function<int()>;  // what the parsed command line asks for

// The exit code of a command that prints its result.
int printed(int code) {
  require_output();
  return code;
}

// A command that is one process.
template <class Arguments>
Command alone(const char* name, int (*run)(const Arguments&),
              const std::shared_ptr<Arguments>& arguments) {
  return [=] { return refused_among_ranks(name) ? int{kExitConfiguration} : run(*arguments); };
}

// The same, for one that prints its result.
template <class Arguments>
Command alone_printing(const char* name, int (*run)(const Arguments&),
                       const std::shared_ptr<Arguments>& arguments) {
  return [command = alone(name, run, arguments)] { return printed(command()); };
}

// Checks for a number of this type, `least` or more. The parser's own checks print the limits of
// double.
template <class Number>
CLI::Validator at_least(Number least) {
  const auto problem = [least](const std::string& text) -> std::string {
    Number value{};
    errno = 0;  // the parser takes the largest number for a larger one
    if (!CLI::detail::lexical_cast(text, value) || errno == ERANGE ||
        std::isinf(static_cast<double>(value)))
      return concat("'", text, "' is not ", std::is_integral_v<Number> ? "a whole" : "a",
                    " number, or too large");
    // The parser takes -1 for the largest unsigned number.
    const bool wrapped = std::is_unsigned_v<Number> && text.starts_with('-');
    return value >= least && !wrapped ? "" : concat("must be ", least, " or more, not ", text);
  };
  return {problem, concat(least, " or more")};
}

constexpr const char* kOverridesHelp =
    "Overrides section.key=value, applied in order (keys: seq1f1b --help-config)";

void add_train(CLI::App& app, Command& command, const std::string& command_line) {
  auto arguments = std::make_shared<TrainArguments>();
  arguments->command_line = command_line;
  CLI::App* train = app.add_subcommand("train", "Train a model as a YAML file says");
  train->add_option("CONFIG", arguments->config, "YAML file")->required();
  train->add_option("OVERRIDES", arguments->overrides, kOverridesHelp);
  train->add_flag("--dry-run", arguments->dry_run, "Check everything, print derived values, stop");
  train->add_flag("--print-config", arguments->print_config,
                  "Print the resolved configuration with the origin of every value, stop");
  train
      ->add_option("--world-size", arguments->world_size,
                   "Ranks assumed by --dry-run and --print-config (default: as launched, else "
                   "tp * cp * pp)")
      ->check(at_least(1));
  train->callback([&command, arguments] {
    command = [arguments] {
      const bool prints = arguments->dry_run || arguments->print_config;
      return prints ? printed(run_train(*arguments)) : run_train(*arguments);
    };
  });
}

void add_plan(CLI::App& app, Command& command) {
  auto arguments = std::make_shared<PlanArguments>();
  CLI::App* plan =
      app.add_subcommand("plan", "Print orders, bubble and memory of a configuration; no mpirun");
  plan->add_option("CONFIG", arguments->config, "YAML file")->required();
  plan->add_option("OVERRIDES", arguments->overrides, kOverridesHelp);
  plan->add_option("--world-size", arguments->world_size, "Ranks (default: tp * cp * pp)")
      ->check(at_least(1));
  plan->add_option("--json", arguments->json, "Write the schedule to this file");
  plan->add_option("--svg", arguments->svg, "Draw the schedule into this file");
  plan->callback([&command, arguments] { command = alone_printing("plan", run_plan, arguments); });
}

void add_prepare(CLI::App& app, Command& command) {
  auto arguments = std::make_shared<PrepareArguments>();
  CLI::App* prepare = app.add_subcommand("prepare", "Turn a text file into token files");
  prepare->add_option("INPUT", arguments->input, "Text file")->required();
  prepare->add_option("--output", arguments->output, "Prefix of the files to write")->required();
  prepare
      ->add_option("--tokenizer", arguments->tokenizer,
                   "bytes | sentencepiece (trained on all of INPUT, held-out documents included) | "
                   "FILE.model | FILE.tokenizer.json")
      ->capture_default_str();
  prepare->add_option("--vocab-size", arguments->vocab_size, "Tokens of a tokenizer trained here")
      ->check(at_least(1))
      ->capture_default_str();
  prepare->add_option_function<std::string>(
      "--document-separator",
      [arguments](const std::string& text) {
        arguments->document_separator = replace_escapes(text);
      },
      "Text between documents, with \\n, \\t, \\r, \\\\ (default: \\n, a line is a document)");
  prepare
      ->add_option("--line-endings", arguments->line_endings,
                   "Of a text with CRLF: keep, or lf to make them line feeds (default: refuse it)")
      ->check(CLI::IsMember({"keep", "lf"}));
  prepare->add_flag(
      "--as-text", arguments->as_text,
      "Take INPUT for text although it looks compressed or binary, like JSON lines or "
      "UTF-16");
  prepare->callback([&command, arguments] { command = alone("prepare", run_prepare, arguments); });
}

void add_sample(CLI::App& app, Command& command) {
  auto arguments = std::make_shared<SampleArguments>();
  CLI::App* sample = app.add_subcommand("sample", "Write text with a trained model");
  sample
      ->add_option("CHECKPOINT", arguments->checkpoint, "Checkpoint, or run directory (its latest)")
      ->required();
  sample->add_option("--prompt", arguments->prompt, "Text to go on from");
  sample->add_option("--tokens", arguments->tokens, "Tokens to write")
      ->check(at_least(1))
      ->capture_default_str();
  sample->add_option("--temperature", arguments->temperature, "0: always the likeliest token")
      ->check(at_least(0.0))
      ->capture_default_str();
  sample->add_option("--top-k", arguments->top_k, "Choose among the likeliest K tokens; 0: all")
      ->check(at_least(0))
      ->capture_default_str();
  sample->add_option("--seed", arguments->seed, "Seed of the choices")
      ->check(at_least(std::uint64_t{0}))
      ->capture_default_str();
  sample->add_option("--threads", arguments->threads, "Threads; 0: all cores")
      ->check(CLI::Range(0, static_cast<int>(config::find_field("runtime", "threads")->range.max)))
      ->capture_default_str();
  sample->callback(
      [&command, arguments] { command = alone_printing("sample", run_sample, arguments); });
}

void add_doctor(CLI::App& app, Command& command) {
  auto arguments = std::make_shared<DoctorArguments>();
  CLI::App* doctor =
      app.add_subcommand("doctor", "Show what every rank of a run did last, however it ended");
  doctor->add_option("RUN", arguments->run_directory, "Run directory")->required();
  doctor->add_option("--actions", arguments->actions, "Actions shown of every rank")
      ->check(at_least(1))
      ->capture_default_str();
  doctor->callback(
      [&command, arguments] { command = alone_printing("doctor", run_doctor, arguments); });
}

// An empty argument is a variable of the shell that is not set more often than a wish. A prompt may
// be empty; `prepare` says itself why a separator may not.
void refuse_empty_arguments(const CLI::App& app) {
  for (const CLI::App* command : app.get_subcommands())
    for (const CLI::Option* option : command->get_options())
      for (const std::string& text : option->results())
        if (text.empty() && option->get_name() != "--prompt" &&
            option->get_name() != "--document-separator")
          throw CLI::ValidationError(option->get_name(), "is empty (a variable that is not set?)");
}

// Help and version, which the parser throws as well, end well; its other codes become ours.
int end_of_parsing(const CLI::App& app, const CLI::ParseError& error) {
  if (error.get_exit_code() == 0)
    return read_launch().rank == 0 ? printed(app.exit(error)) : kExitComplete;
  return refuse(ConfigError(concat(error.what(), " (see seq1f1b --help)")));
}

int run(int argc, char** argv) {
  CLI::App app("Pre-trains GPT models with sequence-level pipeline parallelism", "seq1f1b");
  // Made where it is asked for, since it fails where the instruction set cannot be had.
  app.set_version_flag("--version", [] {
    return concat("seq1f1b " SEQ1F1B_VERSION ", commit ", kernels::build_commit(), ", ",
                  kernels::build_compiler(), ", instruction set ", kernels::cpu_instruction_set());
  });
  std::string section;
  CLI::Option* help_config =
      app.add_option("--help-config", section, "Print all configuration keys, or one section's")
          ->expected(0, 1)
          ->type_name("[SECTION]");
  Command command;
  std::string command_line;
  for (int i = 0; i < argc; ++i) command_line += (i > 0 ? " " : "") + std::string(argv[i]);
  add_train(app, command, command_line);
  add_plan(app, command);
  add_prepare(app, command);
  add_sample(app, command);
  add_doctor(app, command);
  app.require_subcommand(0, 1);
  try {
    app.parse(argc, argv);
    refuse_empty_arguments(app);
  } catch (const CLI::ParseError& error) {
    return end_of_parsing(app, error);
  }
  if (help_config->count() > 0) {
    if (read_launch().rank != 0) return kExitComplete;
    config::print_help(std::cout, section);
    return printed(kExitComplete);
  }
  if (command) return command();
  if (comm::can_join(std::getenv)) return refuse(ConfigError("no command (see seq1f1b --help)"));
  if (read_launch().rank == 0) std::cerr << app.help();
  return kExitConfiguration;
}

// A standard stream that the caller has closed would be the next file that is opened: lines for
// people would go into a checkpoint. What stands in its place can be neither read nor written.
void occupy_closed_streams() {
  for (int stream = STDIN_FILENO; stream <= STDERR_FILENO; ++stream)
    if (::fcntl(stream, F_GETFD) < 0 &&
        ::open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY) != stream)
      std::abort();  // the lowest number that is free is this one
}

}  // namespace
}  // namespace seq1f1b::apps

int main(int argc, char** argv) {
  using namespace seq1f1b;
  apps::occupy_closed_streams();
  // A limit on the size of files then fails a write, which has words, and not the process.
  std::signal(SIGXFSZ, SIG_IGN);
  try {
    return apps::run(argc, argv);
  } catch (const Error& error) {
    apps::print_error(apps::with_rank(error.what()));
    return error.code();
  } catch (const std::filesystem::filesystem_error& error) {
    apps::print_error(apps::with_rank(base::text_of(error)));
    return kExitData;
  } catch (const std::exception& error) {
    apps::print_error(apps::with_rank(error.what()));
    return kExitUnexpected;
  }
}

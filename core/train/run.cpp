#include "core/train/run.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <iostream>
#include <optional>

#include "core/base/files.h"
#include "core/runtime/backend_choice.h"
#include "core/train/agreement.h"
#include "kernels/common/errors.h"

namespace seq1f1b::train {
namespace {

void print_error(const std::string& message) {
  std::cerr << concat("seq1f1b: error: ", message, "\n")
            << std::flush;  // one write: ranks share it
}

// How long a rank that cannot begin waits for the others.
constexpr double kTellSeconds = 120;

std::string text_of(const Error& failure) {
  return concat(static_cast<int>(failure.code()), " ", failure.what());
}

// Throws on all ranks what keeps the lowest of those that cannot begin. What keeps all alike is
// said without a rank. Collective.
void require_beginning(comm::World& world, const std::optional<Error>& failure) {
  const auto all = world.make_group(comm::everyone(world));
  const auto outcomes = all->all_gather(failure ? text_of(*failure) : "",
                                        [] { return "asking all ranks whether they can begin"; });
  std::size_t lowest = outcomes.size();
  for (std::size_t rank = outcomes.size(); rank-- > 0;)
    if (!outcomes[rank].empty()) lowest = rank;
  if (lowest == outcomes.size()) return;
  const auto alike = std::ranges::count(outcomes, outcomes[lowest]);
  const auto well = std::ranges::count(outcomes, "");
  const std::string& outcome = outcomes[lowest];
  int code = kExitUnexpected;
  std::from_chars(outcome.data(), outcome.data() + outcome.size(), code);
  const std::string message = outcome.substr(outcome.find(' ') + 1);
  const auto size = static_cast<std::ptrdiff_t>(outcomes.size());
  if (alike == size) throw AgreedError(static_cast<ExitCode>(code), message);
  const std::ptrdiff_t others = size - well - 1;
  throw AgreedError(
      static_cast<ExitCode>(code),
      concat("rank ", lowest, ": ", message,
             others == 0 ? ""
                         : concat(" (", others, others == 1 ? " other rank" : " other ranks",
                                  " cannot begin either)")));
}

int run(const Request& request, const std::optional<Error>& failure) {
  const auto& runtime = request.loaded.config.runtime;
  comm::WorldOptions options;
  options.deadline = std::chrono::duration<double>(runtime.deadline_seconds);
  options.grace = std::chrono::duration<double>(runtime.grace_seconds);
  Trainer* logging = nullptr;
  // Also where the process ends without an exception: when not all leave the job.
  options.on_deadline = [&](const std::string& message) {
    if (failure) print_error(failure->what());  // nobody else will say it
    if (!logging) return;
    logging->log("error: " + message);
    logging->end(runtime::Ending::kTold);
  };
  runtime::prepare_environment(runtime);
  const std::unique_ptr<comm::World> world = comm::connect_mpi(options);
  Trainer trainer(request, *world);
  logging = &trainer;
  const auto fail = [&](int code, const std::string& message) {
    print_error(message);
    trainer.end(runtime::Ending::kTold);
    world->abort(code);
  };
  const auto fail_alone = [&](int code, const char* what) {
    const std::string message = concat("rank ", world->rank(), ": ", what);
    trainer.log("error: " + message);
    fail(code, message);
  };
  try {
    int code = kExitComplete;
    try {
      require_beginning(*world, failure);
      code = trainer.run();
      trainer.end(runtime::Ending::kComplete);
    } catch (const AgreedError& error) {
      if (world->rank() == 0) print_error(error.what());
      trainer.log(concat("error: ", error.what()));
      trainer.end(runtime::Ending::kTold);
      code = error.code();
    }
    world->finalize();
    return code;
  } catch (const DeadlineError& error) {
    fail(error.code(), error.what());  // says itself which rank it is, and stands in the log
  } catch (const std::filesystem::filesystem_error& error) {
    fail_alone(kExitData, base::text_of(error).c_str());
  } catch (const Error& error) {
    fail_alone(error.code(), error.what());
  } catch (const std::exception& error) {
    fail_alone(kExitUnexpected, error.what());
  }
  return kExitUnexpected;  // not reached: abort does not return
}

}  // namespace

int run(const Request& request) { return run(request, std::nullopt); }

int run_without(const Error& failure) {
  Request request;
  request.loaded.config.runtime.deadline_seconds = kTellSeconds;
  return run(request, failure);
}

}  // namespace seq1f1b::train

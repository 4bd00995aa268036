#include "core/train/run.h"

#include <iostream>

#include "core/runtime/backend_choice.h"
#include "core/train/agreement.h"
#include "kernels/common/errors.h"

namespace seq1f1b::train {
namespace {

void print_error(const std::string& message) {
  std::cerr << concat("seq1f1b: error: ", message, "\n")
            << std::flush;  // one write: ranks share it
}

}  // namespace

int run(const Request& request) {
  const auto& runtime = request.loaded.config.runtime;
  comm::WorldOptions options;
  options.deadline = std::chrono::duration<double>(runtime.deadline_seconds);
  options.grace = std::chrono::duration<double>(runtime.grace_seconds);
  Trainer* logging = nullptr;
  // Also where the process ends without an exception: when not all leave the job.
  options.on_deadline = [&](const std::string& message) {
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
  } catch (const Error& error) {
    fail_alone(error.code(), error.what());
  } catch (const std::exception& error) {
    fail_alone(kExitUnexpected, error.what());
  }
  return kExitUnexpected;  // not reached: abort does not return
}

}  // namespace seq1f1b::train

#include "core/train/run.h"

#include <iostream>

#include "core/train/agreement.h"
#include "kernels/common/errors.h"

namespace seq1f1b::train {
namespace {

void print_error(const std::string& message) {
  std::cerr << concat("seq1f1b: error: ", message, "\n") << std::flush;  // one write: ranks share it
}

}  // namespace

int run(const Request& request) {
  const auto& runtime = request.loaded.config.runtime;
  comm::WorldOptions options;
  options.deadline = std::chrono::duration<double>(runtime.deadline_seconds);
  options.grace = std::chrono::duration<double>(runtime.grace_seconds);
  const std::unique_ptr<comm::World> world = comm::connect_mpi(options);
  std::unique_ptr<Trainer> trainer;
  const auto fail = [&](int code, const std::string& message) {
    print_error(message);
    if (trainer) trainer->log("error: " + message);
    world->abort(code);
  };
  try {
    trainer = std::make_unique<Trainer>(request, *world);
    const int code = trainer->run();
    world->finalize();
    return code;
  } catch (const AgreedError& error) {
    if (world->rank() == 0) print_error(error.what());
    if (trainer) trainer->log(concat("error: ", error.what()));
    world->finalize();
    return error.code();
  } catch (const DeadlineError& error) {
    fail(error.code(), error.what());  // says itself which rank it is
  } catch (const Error& error) {
    fail(error.code(), concat("rank ", world->rank(), ": ", error.what()));
  } catch (const std::exception& error) {
    fail(kExitUnexpected, concat("rank ", world->rank(), ": ", error.what()));
  }
  return kExitUnexpected;  // not reached: abort does not return
}

}  // namespace seq1f1b::train

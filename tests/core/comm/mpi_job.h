#pragma once
// The main program of a test that runs under mpirun: joins the job, runs the body in every rank,
// and ends the job at once when a rank fails, so that no other waits for it.
#include <functional>
#include <iostream>
#include <memory>

#include "core/comm/world.h"
#include "kernels/common/errors.h"

namespace seq1f1b::comm::testing {

inline int run_job(const WorldOptions& options, const std::function<void(World&)>& body) {
  const std::unique_ptr<World> world = connect_mpi(options);
  int exit_code = kExitUnexpected;
  try {
    body(*world);
    world->finalize();
    return kExitComplete;
  } catch (const Error& error) {
    std::cerr << error.what() << std::endl;
    exit_code = error.code();
  } catch (const std::exception& error) {
    std::cerr << error.what() << std::endl;
  }
  world->abort(exit_code);
  return exit_code;  // not reached, which g++ does not see through a virtual call
}

}  // namespace seq1f1b::comm::testing

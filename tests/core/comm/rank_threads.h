#pragma once
// Ranks of an in-process world as threads.
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/comm/world.h"

namespace seq1f1b::comm::testing {

// Runs `body` on every rank; what each threw, empty where nothing.
inline std::vector<std::string> run_ranks(std::vector<std::unique_ptr<World>>& worlds,
                                          const std::function<void(World&)>& body) {
  std::vector<std::string> failures(worlds.size());
  std::vector<std::thread> threads;
  for (std::size_t rank = 0; rank < worlds.size(); ++rank) {
    threads.emplace_back([&, rank] {
      try {
        body(*worlds[rank]);
      } catch (const std::exception& error) {
        failures[rank] = error.what();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return failures;
}

inline WorldOptions with_deadline(double seconds) {
  WorldOptions options;
  options.deadline = std::chrono::duration<double>(seconds);
  return options;
}

// Tests of what happens when a deadline expires want a short one. On a busy machine that may expire
// in a wait that should have been over soon: then the attempt counts for nothing and is repeated
// with a longer one. `attempt(seconds)` says whether all was as it should be; only a defect makes it
// fail with every deadline.
template <class Attempt>
bool at_some_deadline(const Attempt& attempt) {
  for (const double seconds : {0.2, 2.0, 20.0})
    if (attempt(seconds)) return true;
  return false;
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace seq1f1b::comm::testing

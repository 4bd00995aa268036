#pragma once
// Watchdog for work that a rank does alone. Waits for peers have a deadline each; a file system
// that does not answer, or a driver, has none: read() and open() sleep for as long as it pleases
// them.
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace seq1f1b::comm {

// Something that is being watched, until the object goes. Made by Group::watch.
class Watch {
 public:
  virtual ~Watch() = default;
  // It has come on: the time counts anew. `detail` says what is next, e.g. "write /runs/a/x".
  virtual void next(const std::string& detail) = 0;
};

// One thread that looks at what its owner does. Watches are nested like the blocks of a program:
// the innermost counts, and the one around it counts anew afterwards.
class Watchdog {
 public:
  // `expired` is called once, on the watchdog's thread, when a watch has lasted for `deadline`
  // without coming on. Time in which the process is suspended does not count.
  Watchdog(std::chrono::duration<double> deadline,
           std::function<void(const std::string& what)> expired);
  ~Watchdog() { stop(); }
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  // From one thread. The first call starts the watchdog's.
  std::unique_ptr<Watch> watch(const std::string& what);
  // Joins the thread: nothing is watched any more.
  void stop();

 private:
  class Block;
  // Says what is being done from now on; empty: nothing.
  void enter(std::string what);
  void look();

  const std::chrono::duration<double> deadline_;
  const std::function<void(const std::string& what)> expired_;
  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stop_ = false;
  std::string now_;          // what is being done
  std::uint64_t entry_ = 0;  // grows with every change of it
  std::thread thread_;
};

}  // namespace seq1f1b::comm

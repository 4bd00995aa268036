#pragma once
// Errors of the whole program and the checks that raise them. A message says what failed, where,
// and what to try; the exit codes are documented in the README and are the same on every rank.
#include <cmath>
#include <limits>
#include <sstream>
#include <stdexcept>
#include <string>

namespace seq1f1b {

enum ExitCode : int {
  kExitComplete = 0,       // trained to the end, or nothing was left to do
  kExitUnexpected = 1,     // a defect of this program or of its environment
  kExitConfiguration = 2,  // the configuration or the command line is wrong
  kExitData = 3,           // data or checkpoint unreadable or damaged
  kExitDiverged = 16,      // loss or gradient norm is not finite
  kExitMismatch = 17,      // ranks disagree on what must be equal
  kExitStopped = 75,       // stopped early on request, checkpoint saved
  kExitDeadline = 124,     // a peer did not answer within the deadline
};

// As people read it: a NaN has no sign, though some operations leave one with a minus.
template <class Part>
const Part& readable(const Part& part) {
  return part;
}
inline double readable(double value) {
  return std::isnan(value) ? std::numeric_limits<double>::quiet_NaN() : value;
}
inline double readable(float value) { return readable(static_cast<double>(value)); }

// Joins its arguments with operator<<.
template <class... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream stream;
  (stream << ... << readable(parts));
  return stream.str();
}

// A fault of the user or the environment: one clear message, no stack trace, a documented exit
// code.
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

struct ConfigError : Error {
  explicit ConfigError(const std::string& message) : Error(kExitConfiguration, message) {}
};
struct DataError : Error {
  explicit DataError(const std::string& message) : Error(kExitData, message) {}
};
struct DivergedError : Error {
  explicit DivergedError(const std::string& message) : Error(kExitDiverged, message) {}
};
struct MismatchError : Error {
  explicit MismatchError(const std::string& message) : Error(kExitMismatch, message) {}
};
struct DeadlineError : Error {
  explicit DeadlineError(const std::string& message) : Error(kExitDeadline, message) {}
};
// Our own logic is broken.
struct InternalError : Error {
  explicit InternalError(const std::string& message) : Error(kExitUnexpected, message) {}
};

}  // namespace seq1f1b

// Our own logic: throws InternalError with the place when `condition` is false. Always compiled in.
#define SEQ1F1B_ASSERT(condition, ...)                                                           \
  do {                                                                                           \
    if (!(condition)) [[unlikely]]                                                               \
      throw ::seq1f1b::InternalError(::seq1f1b::concat("internal error: ", #condition, " at ",   \
                                                       __FILE__, ":", __LINE__, ": ", __VA_ARGS__)); \
  } while (false)

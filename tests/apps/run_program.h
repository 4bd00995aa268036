#pragma once
#include <sys/wait.h>

#include <array>
#include <cstdio>
#include <string>

namespace seq1f1b::apps {

struct Outcome {
  int code = -1;       // exit code; -1: ended by a signal
  std::string output;  // standard output and standard error, as they came
};

// Runs a shell command in which "seq1f1b" is the executable just built.
inline Outcome run_shell(const std::string& command) {
  const std::string line =
      "seq1f1b() { '" SEQ1F1B_BINARY_DIR "/seq1f1b' \"$@\"; }; { " + command + "; } 2>&1";
  Outcome outcome;
  FILE* pipe = ::popen(line.c_str(), "r");
  if (pipe == nullptr) return outcome;
  std::array<char, 4096> buffer{};
  while (const std::size_t count = std::fread(buffer.data(), 1, buffer.size(), pipe))
    outcome.output.append(buffer.data(), count);
  const int status = ::pclose(pipe);
  if (WIFEXITED(status)) outcome.code = WEXITSTATUS(status);
  return outcome;
}

}  // namespace seq1f1b::apps

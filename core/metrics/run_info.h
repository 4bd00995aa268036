#pragma once
// run_info.json: what is needed to tell, later, which program ran where and how.
#include <map>
#include <string>

#include "core/config/load.h"

namespace seq1f1b::metrics {

struct RunInfo {
  std::string command_line;
  int world_size = 1;
  std::string device;
  config::Origins origins;                         // where each option got its value
  std::map<std::string, std::string> libraries{};  // name to version, as far as the caller knows
};

// Adds version, commit and compiler of this build, host, time and process, and replaces the file.
// Throws DataError when it cannot be written.
void write_run_info(const std::string& path, const RunInfo& info);

}  // namespace seq1f1b::metrics

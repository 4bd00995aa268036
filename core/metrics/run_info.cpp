#include "core/metrics/run_info.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "core/base/clock.h"
#include "core/base/files.h"
#include "kernels/common/build_identity.h"

namespace seq1f1b::metrics {

void write_run_info(const std::string& path, const RunInfo& info) {
  utsname system{};
  ::uname(&system);
  const nlohmann::ordered_json root{
      {"program", "seq1f1b"},
      {"version", SEQ1F1B_VERSION},
      {"commit", kernels::build_commit()},
      {"compiler", kernels::build_compiler()},
      {"build_type", SEQ1F1B_BUILD_TYPE},
      {"libraries", info.libraries},
      {"started", base::utc_text()},
      {"host", system.nodename},
      {"system", std::string(system.sysname) + " " + system.release + " " + system.machine},
      {"process", ::getpid()},
      {"command_line", info.command_line},
      {"world_size", info.world_size},
      {"device", info.device},
      {"origins", info.origins},
  };
  base::atomic_write_file(
      path, root.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

}  // namespace seq1f1b::metrics

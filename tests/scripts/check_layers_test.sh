#!/usr/bin/env bash
# check_layers.sh accepts a tree that keeps to the layers and names every violation of one that does not.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/made_up_tree.sh" check_layers.sh

put apps/main.cpp '#include "core/train/run.h"' '#include <CLI/CLI.hpp>'
put core/train/run.h '#include <string>' '#include "core/train/step.h"' '#include "kernels/ops.h"'
put core/data/json.h '#include <nlohmann/json_fwd.hpp>'
put core/data/json.cpp '#include <nlohmann/json.hpp>' '// #include "core/train/run.h"'
put kernels/cpu/gemm/pack.cpp '#include "kernels/cpu/pool.h"' '#include "kernels/common/errors.h"'
put core/comm/requests.h '#include <mpi.h>'
put core/comm/requests.cpp '#include "core/comm/requests.h"'
put core/train/gpu.cpp '#include "kernels/cuda/backend.h"'
put kernels/cuda/device_code/language.h '#include "kernels/simt/language.h"' '#include <cuda_runtime.h>'
expect 0 'check_layers: 9 files keep to the layers'

put core/schedule/bad.cpp '// x' '#include "core/config/config.h"'
put core/model/bad.h '  #  include "core/runtime/stage_loop.h"'
put kernels/ops.h '#include "core/base/text.h"'
put kernels/cpu/bad.cpp '#include "kernels/reference/linear.h"'
put kernels/cpu/bad.inc '#include "core/comm/channel.h"'
put core/comm/bad.h '#include "channel.h"' '#include "core/comm/requests.h"'
put core/runtime/bad.cpp '#include "core/comm/requests.h"'
put core/train/bad.cpp '#include "kernels/cuda/kernels.h"'
put kernels/cuda/bad.cu '#include "kernels/simt/language.h"'
put core/attic/bad.h '#include <string>'
expect 1 'core/attic/bad.h:1: no rule for the folder core/attic; add it to the table of scripts/check_layers.sh
core/comm/bad.h:1: "channel.h" is not named from the root of the repository
core/model/bad.h:1: core/model may not include core/runtime (core/runtime/stage_loop.h)
core/schedule/bad.cpp:2: core/schedule may not include core/config (core/config/config.h)
core/train/bad.cpp:1: core/train may not include kernels/cuda (kernels/cuda/kernels.h)
kernels/cpu/bad.cpp:1: kernels/cpu may not include kernels/reference (kernels/reference/linear.h)
kernels/cpu/bad.inc:1: kernels/cpu may not include core/comm (core/comm/channel.h)
kernels/cuda/bad.cu:1: kernels/cuda may not include kernels/simt (kernels/simt/language.h)
kernels/ops.h:1: kernels may not include core/base (core/base/text.h)
core/comm/bad.h:2: core/comm/requests.h brings <mpi.h>: only source files of its folder may include it
core/runtime/bad.cpp:1: core/comm/requests.h brings <mpi.h>: only source files of its folder may include it'

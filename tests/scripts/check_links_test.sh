#!/usr/bin/env bash
# check_links.sh accepts a tree whose links lead somewhere and names every one that does not.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/made_up_tree.sh" check_links.sh

put core/train/step.cpp '// See docs/step.md, and norm.cu.' 'StepResult Step::run() {}'
put kernels/cuda/norm.cu '// kernels/*.h, "file.cu:12", $name.cu, megatron/core/data/x.py'
put build/built.md '[gone](gone.md)'
put docs/step.md '# One step: its parts' \
  '[`Step::run`](../core/train/step.cpp), [the parts](#one-step-its-parts), [core](../core),' \
  '[elsewhere](https://example.org/gone.md)'
put README.md '[how](docs/step.md#one-step-its-parts)'
expect 0 'check_links: 4 links of 2 documents lead somewhere'

put docs/bad.md '[a](step.md) [b](gone.md) [`Step::stop`](../core/train/step.cpp)' \
  '[c](step.md#one-step) tests/core/step_test.cpp'
put core/train/bad.h '// As gelu.cu has it.'
expect 1 'docs/bad.md:1: no gone.md
docs/bad.md:1: no stop in docs/../core/train/step.cpp
docs/bad.md:2: no heading #one-step in docs/step.md
core/train/bad.h:1: no file gelu.cu
docs/bad.md:2: no file tests/core/step_test.cpp'

#!/usr/bin/env bash
# Installs what is missing, builds, and runs every test.
# Usage: scripts/test.sh [CTEST ARGUMENTS]     e.g. scripts/test.sh -R schedule
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scripts/setup.sh
scripts/build.sh release
. scripts/mpi_env.sh
exec ctest --test-dir build/release --output-on-failure "$@"

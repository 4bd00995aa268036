#!/usr/bin/env bash
# Installs every package that the build and the quick start need (Debian 12 or newer, Ubuntu 24.04 or
# newer: CMake 3.24). Idempotent: does nothing when all is there. Uses sudo when not run as root.
# Usage: scripts/setup.sh [--check]     --check only reports; exit code 1 when something is missing
#        scripts/setup.sh --cudnn-frontend
#            instead fetches NVIDIA's headers over cuDNN's graphs for this user, with pip: for
#            attention by cuDNN, beside our own (cmake/FindCudnnFrontend.cmake)
set -euo pipefail

frontend=nvidia-cudnn-frontend==1.32.0
if [[ ${1:-} == --cudnn-frontend ]]; then
  [[ -n ${HOME:-} ]] || { echo "setup: HOME is not set, and the headers would lie there" >&2; exit 1; }
  folder=$HOME/.local/share/seq1f1b/cudnn-frontend
  if [[ -f $folder/include/cudnn_frontend.h ]]; then
    echo "setup: $folder has the headers"
    exit 0
  fi
  if ! command -v python3 >/dev/null || ! python3 -m pip --version >/dev/null 2>&1; then
    echo "setup: no pip; unpack the wheel $frontend by hand and set CudnnFrontend_ROOT" >&2
    exit 1
  fi
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  # Without a network this must not take minutes: the headers are optional.
  if ! python3 -m pip --timeout 15 --retries 1 download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
      --dest "$work" "$frontend" >"$work/log" 2>&1; then
    cat "$work/log" >&2
    echo "setup: pip cannot fetch $frontend" >&2
    exit 1
  fi
  # The wheel is an archive; only its headers are of use.
  python3 -m zipfile -e "$work"/*.whl "$work/wheel"
  mkdir -p "$folder"
  cp -r "$work/wheel/include" "$folder/"
  echo "setup: installed $frontend in $folder"
  exit 0
fi

packages=(
  g++ make cmake ninja-build ccache pkg-config git ca-certificates
  libopenmpi-dev openmpi-bin
  libyaml-cpp-dev libcli11-dev nlohmann-json3-dev catch2
  libblis-serial-dev libdnnl-dev libsentencepiece-dev sentencepiece libxxhash-dev
  bible-kjv python3-numpy
)

if ! command -v dpkg-query >/dev/null; then
  echo "setup: this script knows Debian and Ubuntu only; install by hand: ${packages[*]}" >&2
  exit 1
fi

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
  [[ $status == installed ]] || missing+=("$package")
done
if ((${#missing[@]} == 0)); then
  echo "setup: all ${#packages[@]} packages are installed"
  exit 0
fi
echo "setup: missing: ${missing[*]}"
[[ ${1:-} == --check ]] && exit 1

elevate=()
if ((EUID != 0)); then
  if ! command -v sudo >/dev/null; then
    echo "setup: not root and no sudo; ask an administrator to install: ${missing[*]}" >&2
    exit 1
  fi
  elevate=(sudo)
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
run() {
  if ! "${elevate[@]}" env DEBIAN_FRONTEND=noninteractive "$@" >"$log" 2>&1; then
    cat "$log" >&2
    echo "setup: failed: $*" >&2
    exit 1
  fi
}
run apt-get update
run apt-get install -y --no-install-recommends "${missing[@]}"
echo "setup: installed ${missing[*]}"

#!/usr/bin/env bash
# Makes a relocatable folder that runs on a machine which has CUDA and nothing else: executable, CUDA
# module, GPU tests and benchmarks, Open MPI with its plugins, and every library other than glibc, the
# C++ runtime and CUDA. Below 60 MiB; the largest libraries travel compressed and are unpacked by
# env.sh on first use.
# Usage: scripts/make_bundle.sh OUTPUT [ARCHITECTURE]     e.g. scripts/make_bundle.sh /tmp/bundle 90a
# There:  . OUTPUT/env.sh && seq1f1b --version;  OUTPUT/scripts/gpu_check.sh
# Knows Open MPI 4 as Debian and Ubuntu package it.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
(($# >= 1)) || { sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2; exit 2; }
output=$1 architecture=${2:-90a}
limit_bytes=$((60 << 20))

# Resolved, for the cache may say /lib where Open MPI has /usr/lib compiled in.
library_folder=$(dirname "$(readlink -f "$(ldconfig -p | awk '/libmpi\.so/ { print $NF; exit }')")")
[[ -d $library_folder/openmpi ]] || library_folder=${library_folder%%/openmpi/*}
plugins=$library_folder/openmpi/lib/openmpi3
[[ -d $plugins ]] || { echo "make_bundle: no Open MPI 4 plugins in $plugins" >&2; exit 1; }
if [[ -e $output && ! -f $output/env.sh ]]; then
  echo "make_bundle: $output exists and is no bundle" >&2
  exit 1
fi

build=$root/build/bundle
cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DSEQ1F1B_CUDA=ON \
  -DSEQ1F1B_CUDA_ARCHITECTURES="$architecture-real" >/dev/null
cmake --build "$build" --parallel "$(nproc)" --target bundle >/dev/null

rm -rf "$output"
mkdir -p "$output"/{bin,lib/pmix,share,etc/openmpi,scripts,benchmarks,docs,tests/kernels/cuda}
output=$(cd "$output" && pwd)
programs=(seq1f1b cuda_kernels)
for program in "$build"/test_*_gpu "$build"/cuda_{probe,queues}; do
  [[ -x $program ]] && programs+=("$(basename "$program")")
done
for program in "${programs[@]}"; do install -m755 -s "$build/$program" "$output/bin/"; done
install -m644 -s "$build/libseq1f1b_cuda.so" "$output/bin/"
install -m755 "$(readlink -f "$(command -v mpirun)")" "$output/bin/mpirun"
install -m755 "$(readlink -f "$(command -v orted)")" "$output/bin/orted"
cp "$root"/scripts/{gpu_check,mpi_env}.sh "$output/scripts/"
cp "$root"/benchmarks/{targets.tsv,pytorch_baseline.py} "$output/benchmarks/"
cp "$root"/README.md "$output/"
cp "$root"/docs/*.md "$output/docs/"
[[ -f $root/tests/kernels/cuda/fragments.txt ]] &&
  cp "$root/tests/kernels/cuda/fragments.txt" "$output/tests/kernels/cuda/"

# Open MPI: shared memory, TCP, Slurm; no InfiniBand or libfabric (a large closure), no MPI-IO.
moved=$output/lib/${plugins#/usr/lib/}
mkdir -p "$moved"
keep='allocator_|bml_r2|btl_(self|vader|tcp)|coll_(basic|libnbc|self|tuned|sync|inter|sm|adapt|han)|errmgr_|ess_|filem_|grpcomm_|iof_|odls_default|oob_tcp|op_avx|osc_(rdma|sm)|patcher_|plm_(isolated|rsh|slurm)|pmix_(ext3x|isolated)|pml_ob1|pstat_|ras_slurm|rcache_|reachable_|regx_|rmaps_|rml_|routed_|rtc_|schizo_(ompi|orte|slurm)|shmem_|state_|topo_basic'
for plugin in "$plugins"/mca_*.so; do
  name=$(basename "$plugin" .so)
  [[ ${name#mca_} =~ ^($keep) ]] && install -m644 -s "$plugin" "$moved/"
done
cp -rL /usr/share/openmpi "$output/share/openmpi"
rm -rf "$output"/share/openmpi/{doc,*-wrapper-data.txt,amca-param-sets}
install -m644 "$library_folder"/pmix2/lib/pmix/*.so "$output/lib/pmix/"
for shared in /usr/share/pmix "$library_folder/pmix2/share/pmix"; do
  [[ -d $shared ]] && cp -rL "$shared" "$output/share/pmix"
done
printf '%s\n' 'btl = self,vader,tcp' 'pml = ob1' 'osc = ^ucx,pt2pt' 'btl_base_warn_component_unused = 0' \
  >"$output/etc/openmpi/openmpi-mca-params.conf"
: >"$output/etc/openmpi/openmpi-default-hostfile"

# The closure of shared libraries, without what the target must have: glibc, C++ runtime, CUDA.
theirs='^(ld-linux.*|lib(c|m|dl|pthread|rt|resolv|util|nsl|stdc\+\+|gcc_s|cuda|cudart|cublas|cublasLt|cudnn.*|nccl|nvrtc.*|nvJitLink)|linux-vdso)\.so'
for file in "$output"/bin/* "$moved"/*.so "$output"/lib/pmix/*.so; do ldd "$file" 2>/dev/null || true; done |
  awk '$2 == "=>" && $3 ~ /^\// { print $1, $3 }' | sort -u |
  while read -r name path; do
    [[ $name =~ $theirs ]] || install -m644 "$(readlink -f "$path")" "$output/lib/$name"
  done
strip --strip-unneeded "$output"/lib/*.so* 2>/dev/null || true
find "$output/lib" -maxdepth 1 -name '*.so*' -size +8M -exec gzip -9 {} +

cat >"$output/env.sh" <<'ENV'
# Sourced, not run: makes the bundle usable from wherever it lies.
seq1f1b_bundle=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
for seq1f1b_file in "$seq1f1b_bundle"/lib/*.gz; do
  [ -e "$seq1f1b_file" ] && gzip -d "$seq1f1b_file"
done
# CUDA's libraries: the toolkit's, the driver's, and those of Python wheels.
seq1f1b_cuda=
for seq1f1b_file in $(python3 -c 'import glob, site, sys
for path in dict.fromkeys(sys.path + site.getsitepackages()):
    print(*glob.glob(path + "/nvidia/*/lib"), sep="\n")' 2>/dev/null) \
  /usr/local/cuda/lib64 /usr/local/cuda/lib /usr/local/nvidia/lib64; do
  [ -d "$seq1f1b_file" ] && seq1f1b_cuda=$seq1f1b_cuda:$seq1f1b_file
done
# Debian's Open MPI and PMIx have absolute paths of their own; all five are needed to move them.
export OPAL_PREFIX=$seq1f1b_bundle OPAL_SYSCONFDIR=$seq1f1b_bundle/etc/openmpi
export PMIX_PREFIX=$seq1f1b_bundle PMIX_PKGLIBDIR=$seq1f1b_bundle/lib/pmix
export PMIX_PKGDATADIR=$seq1f1b_bundle/share/pmix
export PATH=$seq1f1b_bundle/bin:$PATH
export LD_LIBRARY_PATH=$seq1f1b_bundle/lib$seq1f1b_cuda${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
. "$seq1f1b_bundle/scripts/mpi_env.sh"
unset seq1f1b_bundle seq1f1b_cuda seq1f1b_file
ENV

# Does it start a job? In a copy, since env.sh unpacks, with nothing else in the environment.
trial=$(mktemp -d)
trap 'rm -rf "$trial"' EXIT
cp -a "$output" "$trial/bundle"
if ! env -i HOME="$trial" PATH=/usr/bin:/bin bash -c "set -e; . '$trial/bundle/env.sh'; cd '$trial'
    exec timeout 60 \$SEQ1F1B_MPIRUN -np 2 '$trial/bundle/bin/seq1f1b' --version" >"$trial/log" 2>&1 ||
    ! grep -q '^seq1f1b .*commit' "$trial/log"; then
  cat "$trial/log" >&2
  echo "make_bundle: two ranks of the bundle's own do not start" >&2
  exit 1
fi

bytes=$(du -sb --apparent-size "$output" | cut -f1)
echo "bundle: $output, $((bytes >> 20)) MiB, $(find "$output" -type f | wc -l) files, architecture $architecture"
if ((bytes >= limit_bytes)); then
  echo "make_bundle: larger than $((limit_bytes >> 20)) MiB; the largest files:" >&2
  find "$output" -type f -printf '%s %p\n' | sort -rn | head -5 >&2
  exit 1
fi

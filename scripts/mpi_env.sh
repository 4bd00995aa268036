# Sourced, not run: what quiet runs of Open MPI need on one machine, as root or not, with more ranks
# than cores. What the caller has set already stays.
export OMPI_ALLOW_RUN_AS_ROOT="${OMPI_ALLOW_RUN_AS_ROOT:-1}"
export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="${OMPI_ALLOW_RUN_AS_ROOT_CONFIRM:-1}"

# More ranks than cores, none tied to a core, and MPI gives its core away while it waits: a rank
# that spins costs the others milliseconds per message.
export OMPI_MCA_rmaps_base_oversubscribe="${OMPI_MCA_rmaps_base_oversubscribe:-1}"
export OMPI_MCA_hwloc_base_binding_policy="${OMPI_MCA_hwloc_base_binding_policy:-none}"
export OMPI_MCA_mpi_yield_when_idle="${OMPI_MCA_mpi_yield_when_idle:-1}"
# Open MPI 5 asks its launcher PRRTE the same.
export PRTE_MCA_rmaps_default_mapping_policy="${PRTE_MCA_rmaps_default_mapping_policy:-:oversubscribe}"
export PRTE_MCA_hwloc_default_binding_policy="${PRTE_MCA_hwloc_default_binding_policy:-none}"

# The same for OpenMP's threads where ranks share cores.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"

# The launcher, without its banner after a job that ends with a code of its own: use it unquoted, as in
# `$SEQ1F1B_MPIRUN -np 4 seq1f1b train run.yaml`. Open MPI 5 has no such switch, and calls its shared
# memory transport sm instead of vader. Other transports warn where their hardware is missing, and TCP
# where no interface can reach the others.
case "$(mpirun --version 2>/dev/null)" in
  *"(Open MPI) 4."*)
    export SEQ1F1B_MPIRUN="${SEQ1F1B_MPIRUN:-mpirun -q}"
    export OMPI_MCA_btl="${OMPI_MCA_btl:-self,vader}"
    ;;
  *)
    export SEQ1F1B_MPIRUN="${SEQ1F1B_MPIRUN:-mpirun}"
    export OMPI_MCA_btl="${OMPI_MCA_btl:-self,sm}"
    ;;
esac
export OMPI_MCA_pml="${OMPI_MCA_pml:-ob1}"

# Copies between processes need cross-memory attach (process_vm_readv), which containers often refuse:
# then through a shared buffer, without a warning. Yama allows it from parent to child only, unless
# its scope is 0; a seccomp filter may refuse the call itself.
seq1f1b_cross_memory_attach() {
  [ "$(cat /proc/sys/kernel/yama/ptrace_scope 2>/dev/null || echo 0)" = 0 ] || return 1
  [ "$(awk '$1 == "Seccomp:" { print $2 }' /proc/self/status 2>/dev/null)" != 2 ] || return 1
}
if [ -z "${OMPI_MCA_btl_vader_single_copy_mechanism:-}" ] && ! seq1f1b_cross_memory_attach; then
  export OMPI_MCA_btl_vader_single_copy_mechanism=none
fi
unset -f seq1f1b_cross_memory_attach

# mpirun looks for ssh even when it starts no other machine's ranks.
if ! command -v ssh >/dev/null 2>&1 && ! command -v rsh >/dev/null 2>&1; then
  export OMPI_MCA_plm="${OMPI_MCA_plm:-isolated}"
fi

# mpirun gives every rank a terminal of its own, whatever its output goes to: whether a person watches,
# and how wide the line may be, is known here only.
if [ -t 1 ] && [ -z "${SEQ1F1B_PROGRESS:-}" ]; then
  export SEQ1F1B_PROGRESS="$(tput cols 2>/dev/null || echo 80)"
fi

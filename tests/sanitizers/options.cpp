// Options and suppressions of the sanitizers, for what lies in other people's libraries. The
// sanitizers' run-time calls these functions; what the environment sets (ASAN_OPTIONS, ...) comes
// on top. A finding in our own code is never suppressed here.

extern "C" {

int MPI_Init(int*, char***) __attribute__((weak));

// Leaks can only be told apart by library if their stacks reach into it: those libraries keep no
// frame pointers. Walking such stacks costs more than all else (core/data's tests: eight times), so
// programs without MPI, which have nothing to tell apart, do without.
const char* __asan_default_options() {
  return MPI_Init != nullptr ? "fast_unwind_on_malloc=0:detect_stack_use_after_return=1"
                             : "detect_stack_use_after_return=1";
}

const char* __lsan_default_options() { return "print_suppressions=0"; }

// What Open MPI and its helpers keep until the process ends.
const char* __lsan_default_suppressions() {
  return "leak:libopen-pal\n"
         "leak:libopen-rte\n"
         "leak:libmpi\n"
         "leak:libpmix\n"
         "leak:mca_\n"
         "leak:libhwloc\n"
         "leak:libevent\n";
}

const char* __ubsan_default_options() { return "halt_on_error=1:print_stacktrace=1"; }

// Open MPI is not built with the thread sanitizer, which then takes its locks for missing.
const char* __tsan_default_options() { return "ignore_noninstrumented_modules=1"; }

}  // extern "C"

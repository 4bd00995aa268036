#include "tests/support/large_mallocs.h"

#include <atomic>
#include <cerrno>

namespace {

std::atomic<bool> counting = false;
std::atomic<long> count = 0;
std::atomic<std::size_t> largest = 0;

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define SEQ1F1B_COUNTS_MALLOCS
void note(std::size_t bytes) {
  if (!counting.load(std::memory_order_relaxed) || bytes < 64 * 1024) return;
  ++count;
  std::size_t seen = largest;
  while (bytes > seen && !largest.compare_exchange_weak(seen, bytes)) {
  }
}
#endif

}  // namespace

#ifdef SEQ1F1B_COUNTS_MALLOCS
// glibc's own entry points, behind the names that everybody calls.
extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);

void* malloc(std::size_t bytes) {
  note(bytes);
  return __libc_malloc(bytes);
}
void* calloc(std::size_t items, std::size_t bytes) {
  note(items * bytes);
  return __libc_calloc(items, bytes);
}
void* realloc(void* pointer, std::size_t bytes) {
  note(bytes);
  return __libc_realloc(pointer, bytes);
}
void* memalign(std::size_t alignment, std::size_t bytes) {
  note(bytes);
  return __libc_memalign(alignment, bytes);
}
void* aligned_alloc(std::size_t alignment, std::size_t bytes) {
  note(bytes);
  return __libc_memalign(alignment, bytes);
}
int posix_memalign(void** pointer, std::size_t alignment, std::size_t bytes) {
  note(bytes);
  *pointer = __libc_memalign(alignment, bytes);
  return *pointer ? 0 : ENOMEM;
}
}
#endif

namespace seq1f1b::testing {

bool counting_large_mallocs_works() {
#ifdef SEQ1F1B_COUNTS_MALLOCS
  return true;
#else
  return false;
#endif
}

void start_counting_large_mallocs() {
  count = 0;
  largest = 0;
  counting = true;
}

LargeMallocs stop_counting_large_mallocs() {
  counting = false;
  return {count, largest};
}

}  // namespace seq1f1b::testing

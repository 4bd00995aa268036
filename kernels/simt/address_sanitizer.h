#pragma once
// The address sanitizer's marks on memory that is not to be touched; nothing without it.
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
namespace seq1f1b::testing {
inline constexpr bool kAddressSanitizer = true;
}
#else
#define ASAN_POISON_MEMORY_REGION(pointer, bytes) ((void)(pointer), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(pointer, bytes) ((void)(pointer), (void)(bytes))
namespace seq1f1b::testing {
inline constexpr bool kAddressSanitizer = false;
}
#endif

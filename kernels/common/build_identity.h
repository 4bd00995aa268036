#pragma once
// What this program was built from. The source file behind it is written anew by every build whose
// commit, working tree or interfaces differ from the last one's (cmake/write_build_identity.cmake).

namespace seq1f1b::kernels {

// "8754886c0a1b" as git describes it, "-dirty" behind it when tracked files were changed; "unknown"
// in a tree without its history.
const char* build_commit();
// "GNU 12.2.0"
const char* build_compiler();
// Equal for two libraries that may call each other through the headers of kernels/: commit,
// compiler, kind of build, and a checksum of those headers, so that two dirty trees differ where it
// matters.
const char* build_identity();

}  // namespace seq1f1b::kernels

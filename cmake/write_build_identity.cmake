# cmake -DSOURCE=... -DOUTPUT=... -DCOMPILER=... -DBUILD_TYPE=... -P write_build_identity.cmake
# Writes the source file behind kernels/common/build_identity.h, touching it only when it changes.
execute_process(COMMAND git describe --always --dirty --abbrev=12 --exclude=*
                WORKING_DIRECTORY "${SOURCE}" OUTPUT_VARIABLE commit RESULT_VARIABLE failed
                OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(failed)
  set(commit unknown)
endif()

# What crosses from the executable to a module: the contracts and the module's doors.
file(GLOB headers "${SOURCE}/kernels/*.h" "${SOURCE}/kernels/common/*.h")
list(APPEND headers "${SOURCE}/kernels/cuda/module.h")
list(SORT headers)
set(sums "")
foreach(header IN LISTS headers)
  file(SHA1 "${header}" sum)
  string(APPEND sums "${sum}")
endforeach()
string(SHA1 interfaces "${sums}")
string(SUBSTRING "${interfaces}" 0 12 interfaces)

set(text "#include \"kernels/common/build_identity.h\"

namespace seq1f1b::kernels {

const char* build_commit() { return \"${commit}\"; }
const char* build_compiler() { return \"${COMPILER}\"; }
const char* build_identity() {
  return \"commit ${commit}, ${COMPILER}, ${BUILD_TYPE}, interfaces ${interfaces}\";
}

}  // namespace seq1f1b::kernels
")
set(before "")
if(EXISTS "${OUTPUT}")
  file(READ "${OUTPUT}" before)
endif()
if(NOT text STREQUAL before)
  file(WRITE "${OUTPUT}" "${text}")
endif()

# Finds every dependency with find_package only; nothing is ever downloaded. All that is missing is
# reported at once, each with the package that brings it.

set(SEQ1F1B_DEPENDENCY_TABLE "")
set(SEQ1F1B_MISSING "")

# Records one line of the table; `found` false adds the remedy to the list of what is missing.
function(record_dependency name found detail remedy)
  if(found)
    list(APPEND SEQ1F1B_DEPENDENCY_TABLE "${name}|${detail}")
  else()
    list(APPEND SEQ1F1B_DEPENDENCY_TABLE "${name}|MISSING")
    list(APPEND SEQ1F1B_MISSING "  ${name}: install ${remedy}")
  endif()
  set(SEQ1F1B_DEPENDENCY_TABLE "${SEQ1F1B_DEPENDENCY_TABLE}" PARENT_SCOPE)
  set(SEQ1F1B_MISSING "${SEQ1F1B_MISSING}" PARENT_SCOPE)
endfunction()

find_package(Threads REQUIRED)

find_package(MPI QUIET COMPONENTS C)
record_dependency("MPI" "${MPI_C_FOUND}" "${MPI_C_VERSION}" "libopenmpi-dev openmpi-bin")

find_package(OpenMP QUIET COMPONENTS CXX)
record_dependency("OpenMP" "${OpenMP_CXX_FOUND}" "${OpenMP_CXX_VERSION}" "g++ (libgomp)")

find_package(yaml-cpp QUIET)
record_dependency("yaml-cpp" "${yaml-cpp_FOUND}" "${yaml-cpp_VERSION}" "libyaml-cpp-dev")
if(yaml-cpp_FOUND AND NOT TARGET yaml-cpp::yaml-cpp)  # 0.7 only exports the bare name
  add_library(yaml-cpp::yaml-cpp ALIAS yaml-cpp)
endif()

find_package(CLI11 QUIET)
record_dependency("CLI11" "${CLI11_FOUND}" "${CLI11_VERSION}" "libcli11-dev")

find_package(nlohmann_json QUIET)
record_dependency("nlohmann-json" "${nlohmann_json_FOUND}" "${nlohmann_json_VERSION}" "nlohmann-json3-dev")

find_package(Blis QUIET)
record_dependency("BLIS" "${Blis_FOUND}" "${Blis_VERSION}" "libblis-serial-dev (its static library)")

find_package(OneDNN QUIET)
record_dependency("oneDNN" "${OneDNN_FOUND}" "${OneDNN_VERSION}" "libdnnl-dev")

find_package(Sentencepiece QUIET)
record_dependency("sentencepiece" "${Sentencepiece_FOUND}" "${Sentencepiece_VERSION}" "libsentencepiece-dev")

find_package(Xxhash QUIET)
record_dependency("xxHash" "${Xxhash_FOUND}" "${Xxhash_VERSION}" "libxxhash-dev")

if(SEQ1F1B_TESTS)
  find_package(Catch2 QUIET)  # version 2 (Debian 12) or 3
  record_dependency("Catch2" "${Catch2_FOUND}" "${Catch2_VERSION}" "catch2")
endif()

include(Cuda)

if(SEQ1F1B_MISSING)
  list(JOIN SEQ1F1B_MISSING "\n" missing_text)
  message(FATAL_ERROR "Missing dependencies (scripts/setup.sh installs them all):\n${missing_text}")
endif()

function(print_dependency_table)
  message(STATUS "seq1f1b ${PROJECT_VERSION}, ${CMAKE_BUILD_TYPE}, ${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}")
  foreach(line IN LISTS SEQ1F1B_DEPENDENCY_TABLE)
    string(REPLACE "|" ";" cells "${line}")
    list(GET cells 0 name)
    list(GET cells 1 detail)
    string(LENGTH "${name}" length)
    math(EXPR pad "16 - ${length}")
    string(REPEAT " " ${pad} spaces)
    message(STATUS "  ${name}${spaces}${detail}")
  endforeach()
endfunction()

# Every target is made by one of these functions, so that warnings, sanitizers and include roots
# are said once.

add_library(seq1f1b_options INTERFACE)
target_include_directories(seq1f1b_options INTERFACE ${CMAKE_SOURCE_DIR})
target_compile_options(seq1f1b_options INTERFACE
  $<$<COMPILE_LANGUAGE:C,CXX>:-Wall;-Wextra>
  # 177: what only one architecture's code uses counts as unused for the others.
  $<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr;-diag-suppress=177;-Xcompiler=-Wall>)
if(SEQ1F1B_SANITIZE)
  target_compile_options(seq1f1b_options INTERFACE -fsanitize=${SEQ1F1B_SANITIZE} -fno-omit-frame-pointer)
  target_link_options(seq1f1b_options INTERFACE -fsanitize=${SEQ1F1B_SANITIZE})
  # Built into every executable, so that it holds however that is started.
  target_sources(seq1f1b_options INTERFACE
    $<$<STREQUAL:$<TARGET_PROPERTY:TYPE>,EXECUTABLE>:${CMAKE_SOURCE_DIR}/tests/sanitizers/options.cpp>)
endif()

find_program(SEQ1F1B_CCACHE ccache)
if(SEQ1F1B_CCACHE)
  set(CMAKE_C_COMPILER_LAUNCHER ${SEQ1F1B_CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${SEQ1F1B_CCACHE})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${SEQ1F1B_CCACHE})
endif()

# seq1f1b_library(NAME SOURCES a.cpp ... [LINKS target ...])
# One static library per folder; what it may include is what it links, and links point downwards only.
function(seq1f1b_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LINKS" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_link_libraries(${name} PUBLIC seq1f1b_options ${ARG_LINKS})
endfunction()

# seq1f1b_test(NAME SOURCES a.cpp ... [LINKS target ...] [LABELS label ...] [TIMEOUT seconds]
#              [GPU] [ARGUMENTS argument ...])
# One Catch2 executable per source folder, run as one ctest entry per test case; with GPU as a single
# one with the ARGUMENTS, which counts as skipped when it prints "skipped, no GPU". Under sanitizers a
# test may take five times as long.
function(seq1f1b_test name)
  cmake_parse_arguments(ARG "GPU" "TIMEOUT" "SOURCES;LINKS;LABELS;ARGUMENTS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE seq1f1b_options ${ARG_LINKS} Catch2::Catch2WithMain)
  target_compile_definitions(${name} PRIVATE SEQ1F1B_CATCH_MAJOR=${Catch2_VERSION_MAJOR}
    SEQ1F1B_SOURCE_DIR="${CMAKE_SOURCE_DIR}" SEQ1F1B_BINARY_DIR="${CMAKE_BINARY_DIR}")
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  if(SEQ1F1B_SANITIZE)
    math(EXPR ARG_TIMEOUT "5 * ${ARG_TIMEOUT}")
  endif()
  if(ARG_GPU)
    add_test(NAME ${name} COMMAND ${name} ${ARG_ARGUMENTS})
    set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "gpu;${ARG_LABELS}"
      SKIP_REGULAR_EXPRESSION "skipped, no GPU" RESOURCE_LOCK gpu)
    return()
  endif()
  set(properties TIMEOUT ${ARG_TIMEOUT})
  if(ARG_LABELS)
    list(APPEND properties LABELS "${ARG_LABELS}")
  endif()
  catch_discover_tests(${name} TEST_PREFIX "${name}: " PROPERTIES ${properties})
endfunction()

# seq1f1b_mpi_test(NAME RANKS n ... SOURCES a.cpp ... [LINKS target ...] [LABELS label ...]
#                  [TIMEOUT seconds] [ENVIRONMENT NAME=value ...])
# One program with its own main, run by mpirun once per number of ranks; it passes when mpirun
# returns 0. A failed check must abort the job, which Catch's do not, so they stay out of it.
function(seq1f1b_mpi_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "RANKS;SOURCES;LINKS;LABELS;ENVIRONMENT" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE seq1f1b_options ${ARG_LINKS})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  foreach(ranks IN LISTS ARG_RANKS)
    set(test "${name}: ${ranks} ranks")
    add_test(NAME ${test}
      COMMAND bash -c ". '${CMAKE_SOURCE_DIR}/scripts/mpi_env.sh' && exec $SEQ1F1B_MPIRUN \"$@\"" ${name}
              -n ${ranks} $<TARGET_FILE:${name}>)
    set_tests_properties(${test} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "mpi;${ARG_LABELS}"
      PROCESSORS 2 ENVIRONMENT "${ARG_ENVIRONMENT}")
  endforeach()
endfunction()

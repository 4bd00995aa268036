# Sentencepiece::processor and Sentencepiece::trainer, from the headers and shared libraries that
# distributions install (the project ships a pkg-config file but no CMake package).
find_package(PkgConfig QUIET)
if(PkgConfig_FOUND)
  pkg_check_modules(PC_SENTENCEPIECE QUIET sentencepiece)
  set(Sentencepiece_VERSION "${PC_SENTENCEPIECE_VERSION}")
endif()
find_path(Sentencepiece_INCLUDE_DIR sentencepiece_processor.h HINTS ${PC_SENTENCEPIECE_INCLUDE_DIRS})
find_library(Sentencepiece_LIBRARY sentencepiece HINTS ${PC_SENTENCEPIECE_LIBRARY_DIRS})
find_library(Sentencepiece_TRAIN_LIBRARY sentencepiece_train HINTS ${PC_SENTENCEPIECE_LIBRARY_DIRS})

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Sentencepiece
  REQUIRED_VARS Sentencepiece_LIBRARY Sentencepiece_TRAIN_LIBRARY Sentencepiece_INCLUDE_DIR
  VERSION_VAR Sentencepiece_VERSION)
mark_as_advanced(Sentencepiece_INCLUDE_DIR Sentencepiece_LIBRARY Sentencepiece_TRAIN_LIBRARY)

if(Sentencepiece_FOUND AND NOT TARGET Sentencepiece::processor)
  add_library(Sentencepiece::processor UNKNOWN IMPORTED)
  set_target_properties(Sentencepiece::processor PROPERTIES
    IMPORTED_LOCATION "${Sentencepiece_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${Sentencepiece_INCLUDE_DIR}")
  add_library(Sentencepiece::trainer UNKNOWN IMPORTED)
  set_target_properties(Sentencepiece::trainer PROPERTIES
    IMPORTED_LOCATION "${Sentencepiece_TRAIN_LIBRARY}"
    INTERFACE_LINK_LIBRARIES Sentencepiece::processor)
endif()

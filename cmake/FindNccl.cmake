# Nccl::nccl, from the header and library that distributions and NVIDIA's packages install, or that lie
# in the CUDA toolkit's folders.
find_path(Nccl_INCLUDE_DIR nccl.h HINTS ${CUDAToolkit_INCLUDE_DIRS})
find_library(Nccl_LIBRARY nccl HINTS ${CUDAToolkit_LIBRARY_DIR})
if(Nccl_INCLUDE_DIR)
  file(STRINGS "${Nccl_INCLUDE_DIR}/nccl.h" lines REGEX "#define NCCL_(MAJOR|MINOR|PATCH) +[0-9]+")
  string(REGEX MATCHALL "[0-9]+" numbers "${lines}")
  list(JOIN numbers "." Nccl_VERSION)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Nccl REQUIRED_VARS Nccl_LIBRARY Nccl_INCLUDE_DIR
                                  VERSION_VAR Nccl_VERSION)
mark_as_advanced(Nccl_INCLUDE_DIR Nccl_LIBRARY)

if(Nccl_FOUND AND NOT TARGET Nccl::nccl)
  add_library(Nccl::nccl UNKNOWN IMPORTED)
  set_target_properties(Nccl::nccl PROPERTIES
    IMPORTED_LOCATION "${Nccl_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${Nccl_INCLUDE_DIR}")
endif()

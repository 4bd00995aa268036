# CudnnFrontend::headers: NVIDIA's C++ headers over cuDNN's graphs, which no distribution packages.
# Looked for under CudnnFrontend_ROOT (a clone, or the unpacked Python wheel nvidia-cudnn-frontend),
# in the CUDA toolkit, and where scripts/setup.sh --cudnn-frontend puts them.
# Headers that were found once and are gone since are as good as never found.
if(CudnnFrontend_INCLUDE_DIR AND NOT EXISTS "${CudnnFrontend_INCLUDE_DIR}/cudnn_frontend.h")
  unset(CudnnFrontend_INCLUDE_DIR CACHE)
endif()
find_path(CudnnFrontend_INCLUDE_DIR cudnn_frontend.h
          HINTS ${CUDAToolkit_INCLUDE_DIRS}
          PATHS "$ENV{HOME}/.local/share/seq1f1b/cudnn-frontend" PATH_SUFFIXES include)
if(CudnnFrontend_INCLUDE_DIR AND EXISTS "${CudnnFrontend_INCLUDE_DIR}/cudnn_frontend_version.h")
  file(STRINGS "${CudnnFrontend_INCLUDE_DIR}/cudnn_frontend_version.h" lines
       REGEX "#define CUDNN_FRONTEND_(MAJOR|MINOR|PATCH)_VERSION +[0-9]+")
  string(REGEX MATCHALL "[0-9]+" numbers "${lines}")
  list(JOIN numbers "." CudnnFrontend_VERSION)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(CudnnFrontend REQUIRED_VARS CudnnFrontend_INCLUDE_DIR
                                  VERSION_VAR CudnnFrontend_VERSION)
mark_as_advanced(CudnnFrontend_INCLUDE_DIR)

if(CudnnFrontend_FOUND AND NOT TARGET CudnnFrontend::headers)
  add_library(CudnnFrontend::headers INTERFACE IMPORTED)
  set_target_properties(CudnnFrontend::headers PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${CudnnFrontend_INCLUDE_DIR}")
endif()

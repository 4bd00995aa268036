# Decides whether the CUDA back end is built, as SEQ1F1B_CUDA says, and finds what it needs. Sets
# SEQ1F1B_HAS_CUDA; with it the language CUDA is enabled and these targets exist: CUDA::cudart,
# CUDA::cublasLt, Nccl::nccl, and, where they were found, Cudnn::cudnn and CudnnFrontend::headers
# (SEQ1F1B_HAS_CUDNN when both are there). Adds its lines to the dependency table.

set(SEQ1F1B_HAS_CUDA OFF)
set(SEQ1F1B_HAS_CUDNN OFF)
set(SEQ1F1B_CUDA_ARCHITECTURES "80-real;90a-real" CACHE STRING
    "Architectures of the CUDA back end, as CMAKE_CUDA_ARCHITECTURES")

set(cuda_missing "")
if(SEQ1F1B_CUDA STREQUAL "OFF")
  list(APPEND SEQ1F1B_DEPENDENCY_TABLE "CUDA|switched off")
elseif(SEQ1F1B_SANITIZE AND SEQ1F1B_CUDA STREQUAL "AUTO")
  # The emulated device has the same sources under the sanitizers; NVIDIA's libraries do not bear them.
  list(APPEND SEQ1F1B_DEPENDENCY_TABLE "CUDA|not built, as SEQ1F1B_SANITIZE is set")
elseif(SEQ1F1B_SANITIZE AND SEQ1F1B_CUDA STREQUAL "ON")
  message(FATAL_ERROR "SEQ1F1B_CUDA=ON: not together with SEQ1F1B_SANITIZE=${SEQ1F1B_SANITIZE}")
elseif(NOT SEQ1F1B_CUDA MATCHES "^(AUTO|ON)$")
  message(FATAL_ERROR "SEQ1F1B_CUDA=${SEQ1F1B_CUDA}: use AUTO, ON or OFF")
else()
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES "${SEQ1F1B_CUDA_ARCHITECTURES}")
  endif()
  # A rank compares its GPU with these numbers (kernels/cuda/architectures.h).
  foreach(entry IN LISTS CMAKE_CUDA_ARCHITECTURES)
    if(NOT entry MATCHES "^([0-9]+)[af]?(-real|-virtual)?$" OR CMAKE_MATCH_1 LESS 80)
      message(FATAL_ERROR "CUDA architectures ${CMAKE_CUDA_ARCHITECTURES}: '${entry}' is not one of them; "
              "give numbers from 80 on, e.g. -DSEQ1F1B_CUDA_ARCHITECTURES=\"80-real;90a-real\" "
              "(`nvidia-smi --query-gpu=compute_cap --format=csv` prints a GPU's)")
    endif()
  endforeach()
  find_package(CUDAToolkit 12.4 QUIET)
  include(CheckLanguage)
  if(NOT CMAKE_CUDA_COMPILER AND CUDAToolkit_NVCC_EXECUTABLE)
    set(ENV{CUDACXX} "${CUDAToolkit_NVCC_EXECUTABLE}")  # found beside its toolkit, though not on PATH
  endif()
  check_language(CUDA)
  if(NOT CMAKE_CUDA_COMPILER)
    set(cuda_missing "a working nvcc (CUDA toolkit 12.4 or newer, package cuda-nvcc-13-0 of NVIDIA's repository, or set CUDACXX)")
  elseif(NOT CUDAToolkit_FOUND)
    set(cuda_missing "the CUDA toolkit 12.4 or newer beside nvcc (package cuda-toolkit-13-0, or set CUDAToolkit_ROOT)")
  elseif(NOT TARGET CUDA::cublasLt)
    set(cuda_missing "cublasLt.h and libcublasLt.so (package libcublas-dev-13-0)")
  else()
    # 2.17 has the limit of multiprocessors, 2.14 the mode that does not block (its user guide); from 2.19
    # on another thread may abort what is under way (init.cc, ncclCommEnsureReady).
    find_package(Nccl 2.19 QUIET)
    if(NOT Nccl_FOUND)
      set(cuda_missing "nccl.h and libnccl.so of NCCL 2.19 or newer (package libnccl-dev, or set Nccl_ROOT)")
    endif()
  endif()
endif()

if(cuda_missing AND SEQ1F1B_CUDA STREQUAL "ON")
  message(FATAL_ERROR "SEQ1F1B_CUDA=ON: the CUDA back end cannot be built without ${cuda_missing}")
elseif(cuda_missing)
  list(APPEND SEQ1F1B_DEPENDENCY_TABLE "CUDA|not built: it lacks ${cuda_missing}")
elseif(SEQ1F1B_CUDA MATCHES "^(AUTO|ON)$" AND NOT SEQ1F1B_SANITIZE)
  set(SEQ1F1B_HAS_CUDA ON)
  enable_language(CUDA)
  # CMake before 3.25.2 does not know how nvcc is told to compile C++20.
  if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  endif()
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA_STANDARD_REQUIRED ON)
  set(CMAKE_CUDA_EXTENSIONS OFF)
  list(JOIN CMAKE_CUDA_ARCHITECTURES " " architectures)
  list(APPEND SEQ1F1B_DEPENDENCY_TABLE
       "CUDA|${CUDAToolkit_VERSION}, nvcc ${CMAKE_CUDA_COMPILER_VERSION}, for ${architectures}"
       "NCCL|${Nccl_VERSION}")
  find_package(Cudnn QUIET)
  find_package(CudnnFrontend QUIET)
  if(NOT Cudnn_FOUND)
    list(APPEND SEQ1F1B_DEPENDENCY_TABLE
         "cuDNN|not used: no cudnn_version.h and libcudnn.so (package libcudnn9-dev-cuda-13)")
  elseif(NOT CudnnFrontend_FOUND)
    list(APPEND SEQ1F1B_DEPENDENCY_TABLE
         "cuDNN|not used: ${Cudnn_VERSION} is there, but no cudnn_frontend.h (scripts/setup.sh --cudnn-frontend)")
  else()
    set(SEQ1F1B_HAS_CUDNN ON)
    list(APPEND SEQ1F1B_DEPENDENCY_TABLE
         "cuDNN|${Cudnn_VERSION}, frontend ${CudnnFrontend_VERSION}")
  endif()
endif()

# Blis::blis (https://github.com/flame/blis), the static library: kernels are chosen by
# bli_gks_lookup_nat_cntx, which shared ones do not export, and a program then carries what it was tested
# with. Debian and Ubuntu keep a flavour in a folder of its own; of these the one without threads, since
# ours share the work.
find_path(Blis_INCLUDE_DIR blis.h PATH_SUFFIXES ${CMAKE_LIBRARY_ARCHITECTURE}/blis-serial blis-serial blis)
find_library(Blis_LIBRARY libblis.a PATH_SUFFIXES blis-serial)
if(Blis_INCLUDE_DIR)
  # Versions before 1.0 do not say in the header which they are.
  file(STRINGS "${Blis_INCLUDE_DIR}/blis.h" line REGEX "^#define BLIS_VERSION_STRING" LIMIT_COUNT 1)
  string(REGEX MATCH "[0-9]+(\\.[0-9]+)+" Blis_VERSION "${line}")
  if(NOT Blis_VERSION)
    set(Blis_VERSION "0.9")
  endif()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Blis REQUIRED_VARS Blis_LIBRARY Blis_INCLUDE_DIR VERSION_VAR Blis_VERSION)
mark_as_advanced(Blis_INCLUDE_DIR Blis_LIBRARY)

if(Blis_FOUND AND NOT TARGET Blis::blis)
  add_library(Blis::blis STATIC IMPORTED)
  set_target_properties(Blis::blis PROPERTIES
    IMPORTED_LOCATION "${Blis_LIBRARY}"
    INTERFACE_INCLUDE_DIRECTORIES "${Blis_INCLUDE_DIR}"
    INTERFACE_LINK_LIBRARIES "Threads::Threads;m")
endif()

# Xxhash::xxhash, header only (XXH_INLINE_ALL): nothing to link or to ship.
find_path(Xxhash_INCLUDE_DIR xxhash.h)
if(Xxhash_INCLUDE_DIR)
  file(STRINGS "${Xxhash_INCLUDE_DIR}/xxhash.h" lines REGEX "#define XXH_VERSION_(MAJOR|MINOR|RELEASE)")
  string(REGEX MATCHALL "[0-9]+" numbers "${lines}")
  list(JOIN numbers "." Xxhash_VERSION)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Xxhash REQUIRED_VARS Xxhash_INCLUDE_DIR VERSION_VAR Xxhash_VERSION)
mark_as_advanced(Xxhash_INCLUDE_DIR)

if(Xxhash_FOUND AND NOT TARGET Xxhash::xxhash)
  add_library(Xxhash::xxhash INTERFACE IMPORTED)
  set_target_properties(Xxhash::xxhash PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${Xxhash_INCLUDE_DIR}"
    INTERFACE_COMPILE_DEFINITIONS XXH_INLINE_ALL)
endif()

# Fuse3::Fuse3: the system's libfuse3 if it is new enough, else the one that cmake/install-dependencies.sh has built.
# -DFuse3_ROOT=prefix names another.

find_package(PkgConfig QUIET)
if(NOT Fuse3_ROOT AND PKG_CONFIG_FOUND)
    pkg_check_modules(Fuse3_SYSTEM QUIET fuse3>=${Fuse3_FIND_VERSION})
    if(Fuse3_SYSTEM_FOUND)
        set(Fuse3_ROOT ${Fuse3_SYSTEM_PREFIX})
    endif()
endif()
if(NOT Fuse3_ROOT)
    set(cache $ENV{XDG_CACHE_HOME})
    if(NOT cache)
        set(cache $ENV{HOME}/.cache)
    endif()
    file(GLOB built ${cache}/proc9/fuse3-*)
    list(SORT built COMPARE NATURAL ORDER DESCENDING)
    if(built)
        list(GET built 0 Fuse3_ROOT)
    endif()
endif()

# Static where there is a choice: the daemon then runs on machines that have an older libfuse.
find_library(Fuse3_LIBRARY NAMES libfuse3.a fuse3 HINTS ${Fuse3_ROOT}/lib)
find_path(Fuse3_INCLUDE_DIR fuse_lowlevel.h HINTS ${Fuse3_ROOT}/include PATH_SUFFIXES fuse3)
if(Fuse3_INCLUDE_DIR)
    file(READ ${Fuse3_INCLUDE_DIR}/libfuse_config.h config)
    string(REGEX MATCH "define FUSE_MAJOR_VERSION +([0-9]+)" _ "${config}")
    set(Fuse3_VERSION ${CMAKE_MATCH_1})
    string(REGEX MATCH "define FUSE_MINOR_VERSION +([0-9]+)" _ "${config}")
    string(APPEND Fuse3_VERSION .${CMAKE_MATCH_1})
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Fuse3
    REQUIRED_VARS Fuse3_LIBRARY Fuse3_INCLUDE_DIR
    VERSION_VAR Fuse3_VERSION
    REASON_FAILURE_MESSAGE "cmake/install-dependencies.sh gets it.")

if(Fuse3_FOUND AND NOT TARGET Fuse3::Fuse3)
    find_package(Threads REQUIRED)
    add_library(Fuse3::Fuse3 UNKNOWN IMPORTED)
    set_target_properties(Fuse3::Fuse3 PROPERTIES
        IMPORTED_LOCATION ${Fuse3_LIBRARY}
        INTERFACE_INCLUDE_DIRECTORIES ${Fuse3_INCLUDE_DIR}
        INTERFACE_LINK_LIBRARIES "Threads::Threads;${CMAKE_DL_LIBS};rt")
endif()

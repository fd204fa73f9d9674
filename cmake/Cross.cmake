# The libraries for another architecture: their headers are those of this machine, which do not depend on it. They are
# seen through links in a directory of their own, for /usr/include has this machine's C library, too.
#
#     -DPROC9_LIBRARIES=DIR    where libboost_filesystem, libfuse3 and libseccomp of the other architecture are;
#                              without, what needs them is compiled and not linked

set(PROC9_LIBRARIES "" CACHE PATH "libraries of the architecture that is compiled for")
set(CMAKE_OPTIMIZE_DEPENDENCIES ON)   # a room is compiled without those below it
set(headers ${PROJECT_BINARY_DIR}/headers)
file(MAKE_DIRECTORY ${headers})
foreach(header boost fmt nlohmann tl CLI valijson seccomp.h)
    if(NOT EXISTS /usr/include/${header})
        message(FATAL_ERROR "no /usr/include/${header}: cmake/install-dependencies.sh gets it")
    endif()
    file(CREATE_LINK /usr/include/${header} ${headers}/${header} SYMBOLIC)
endforeach()

find_path(sdt sys/sdt.h PATHS /usr/include /usr/include/${CMAKE_HOST_SYSTEM_PROCESSOR}-linux-gnu REQUIRED NO_DEFAULT_PATH)
file(MAKE_DIRECTORY ${headers}/sys)
foreach(header sdt.h sdt-config.h)
    file(CREATE_LINK ${sdt}/sys/${header} ${headers}/sys/${header} SYMBOLIC)
endforeach()

# proc9_foreign(TARGET [LIBRARY])
function(proc9_foreign target)
    add_library(${target} INTERFACE IMPORTED)
    target_include_directories(${target} INTERFACE ${headers})
    if(PROC9_LIBRARIES AND ARGN)
        find_library(${ARGN}_foreign NAMES lib${ARGN}.a ${ARGN} PATHS ${PROC9_LIBRARIES} REQUIRED NO_DEFAULT_PATH)
        target_link_libraries(${target} INTERFACE ${${ARGN}_foreign})
    endif()
endfunction()

proc9_foreign(Boost::headers)
proc9_foreign(Boost::filesystem boost_filesystem)
proc9_foreign(fmt::fmt)
proc9_foreign(nlohmann_json::nlohmann_json)
proc9_foreign(tl::expected)
proc9_foreign(CLI11::CLI11)
proc9_foreign(PkgConfig::Seccomp seccomp)

# Headers in a directory of their own.
find_package(Fuse3 3.17 REQUIRED)
if(PROC9_LIBRARIES)
    find_library(fuse3_foreign NAMES libfuse3.a fuse3 PATHS ${PROC9_LIBRARIES} REQUIRED NO_DEFAULT_PATH)
    set_target_properties(Fuse3::Fuse3 PROPERTIES IMPORTED_LOCATION ${fuse3_foreign})
endif()

# Calls the stub, under an emulator: tests/cross.
add_executable(cross_caller ${PROJECT_SOURCE_DIR}/tests/cross/caller.c)
target_include_directories(cross_caller PRIVATE ${PROJECT_SOURCE_DIR})
target_compile_definitions(cross_caller PRIVATE _GNU_SOURCE)
target_compile_options(cross_caller PRIVATE -O2 -Wall -Wextra -Wshadow $<$<BOOL:${PROC9_WERROR}>:-Werror>)
target_link_options(cross_caller PRIVATE -static)

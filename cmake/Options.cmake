# proc9_options: what every target of ours but the stub is compiled and linked with.

add_library(proc9_options INTERFACE)
target_include_directories(proc9_options INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_definitions(proc9_options INTERFACE PROC9_VERSION="${PROJECT_VERSION}"
    # Boost 1.74 does not see by itself that clang (the fuzzers, clang-tidy) has the coroutines of C++20.
    BOOST_ASIO_HAS_CO_AWAIT=1 BOOST_ASIO_HAS_STD_COROUTINE=1)
# GCC 12 at -O3 loads a member of tl::expected's union before it knows which one is there, reasoning from their types.
target_compile_options(proc9_options INTERFACE -fno-strict-aliasing
    -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wnon-virtual-dtor
    $<$<BOOL:${PROC9_WERROR}>:-Werror>)

# The same bytes wherever the source lies.
add_compile_options(-ffile-prefix-map=${PROJECT_SOURCE_DIR}/= -ffile-prefix-map=${PROJECT_BINARY_DIR}/=)

function(proc9_instrument)
    target_compile_options(proc9_options INTERFACE ${ARGN})
    target_link_options(proc9_options INTERFACE ${ARGN})
endfunction()

if(PROC9_SANITIZE)
    set_source_files_properties(fs/fuse/reserve.cpp PROPERTIES COMPILE_DEFINITIONS PROC9_SANITIZED)
    proc9_instrument(-fsanitize=${PROC9_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
endif()
if(PROC9_SANITIZE MATCHES thread)
    target_compile_options(proc9_options INTERFACE -Wno-tsan)   # Asio's fences, of which it has one thread's use
endif()
if(PROC9_FUZZ)
    proc9_instrument(-fsanitize=fuzzer-no-link -fno-sanitize=vptr)   # which makes a pipe for each check
    target_compile_options(proc9_options INTERFACE -Wno-c99-extensions -Wno-zero-length-array -Wno-deprecated-declarations)
endif()
if(PROC9_COVERAGE)
    proc9_instrument(--coverage -fprofile-abs-path)
endif()

# What was compiled for one preset is not compiled again for another, nor for another checkout, where ccache is installed.
find_program(CCACHE ccache)
if(CCACHE)
    foreach(language C CXX)
        set(CMAKE_${language}_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_NOHASHDIR=1 CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} ${CCACHE})
    endforeach()
endif()

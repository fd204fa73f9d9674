# proc9_fmt: fmt, linked statically. Distributions have it as a shared library only, each another version.
if(NOT TARGET fmt::fmt)
    find_package(fmt REQUIRED)
endif()
get_target_property(fmt_include fmt::fmt INTERFACE_INCLUDE_DIRECTORIES)
add_library(proc9_fmt STATIC ${PROJECT_SOURCE_DIR}/cmake/fmt.cpp)
target_include_directories(proc9_fmt SYSTEM PUBLIC ${fmt_include})

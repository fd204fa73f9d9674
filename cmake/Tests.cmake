# What ctest runs. Every entry has a time-out: a hang is a failure, not a wait.
#
#     unit.<room>.*        tests/unit/<room>/**/*.cpp, GoogleTest; files directly in tests/unit are fakes they share
#     session.root|user    tests/session, pytest on a real mount; side by side, for they wait most of the time
#     cross.arm64          tests/cross: compiled for arm64, and what of it an emulator runs, where PROC9_LINT is on
#     bench.quick          tests/bench, whether it works; what it measures is no test
#     lint.*               tests/lint, where PROC9_LINT is on
#     fuzz                 tests/fuzz, where PROC9_LINT is on: builds the preset fuzz (cmake/Fuzz.cmake), a short run of each

find_package(GTest REQUIRED)
include(GoogleTest)
set(tests ${PROJECT_SOURCE_DIR}/tests)

file(GLOB fakes CONFIGURE_DEPENDS ${tests}/unit/*.cpp)
if(fakes)
    add_library(unit_fakes STATIC ${fakes})
    target_link_libraries(unit_fakes PUBLIC proc9::core GTest::gmock)
endif()

foreach(room core ctl recipe node fuse keeper os)
    file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${tests}/unit/${room}/*.cpp)
    if(sources)
        add_executable(unit_${room} ${sources})
        target_link_libraries(unit_${room} PRIVATE $<TARGET_NAME_IF_EXISTS:unit_fakes> proc9::${room} GTest::gmock_main)
        gtest_discover_tests(unit_${room} TEST_PREFIX unit.${room}. DISCOVERY_TIMEOUT 60
            WORKING_DIRECTORY ${PROJECT_SOURCE_DIR} PROPERTIES TIMEOUT 60 LABELS unit)
    endif()
endforeach()

# Programs that the session tests run: users of the library, a file each, and the benchmark.
function(proc9_test_program name)
    add_executable(${name} ${ARGN})
    target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR})
    target_compile_definitions(${name} PRIVATE _GNU_SOURCE)
    target_compile_options(${name} PRIVATE -Wall -Wextra -Wshadow $<$<BOOL:${PROC9_WERROR}>:-Werror>)
    target_link_libraries(${name} PRIVATE proc9_static m ${CMAKE_DL_LIBS})
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/client)
endfunction()
file(GLOB programs CONFIGURE_DEPENDS ${tests}/client/*.c)
foreach(source ${programs})
    cmake_path(GET source STEM name)
    proc9_test_program(${name} ${source})
endforeach()
file(GLOB benchmark CONFIGURE_DEPENDS ${tests}/bench/*.c)
proc9_test_program(bench ${benchmark})

# The least that can be started and waited for.
add_executable(nothing ${tests}/bench/nothing.S)
target_link_options(nothing PRIVATE -static -nostdlib)
set_target_properties(nothing PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/client)

# The daemon's objects once more, with the functions of daemon/faults in the place of the C library's.
if(TARGET proc9d)
    set(faults ${PROJECT_SOURCE_DIR}/daemon/faults/faults.cpp)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${faults})
    file(STRINGS ${faults} wrapped REGEX "^WRAP\\(")
    list(TRANSFORM wrapped REPLACE "^WRAP\\([^,]+, ([a-z0-9_]+),.*" "-Wl,--wrap=\\1")
    add_executable(proc9d_faults $<TARGET_OBJECTS:proc9d> ${faults})
    target_link_libraries(proc9d_faults PRIVATE proc9::fuse proc9::os CLI11::CLI11)
    target_link_options(proc9d_faults PRIVATE ${wrapped})
    set_target_properties(proc9d_faults PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/daemon)
endif()

file(GLOB session CONFIGURE_DEPENDS ${tests}/session/*.py)
if(session AND TARGET proc9d)
    foreach(mode root user)
        add_test(NAME session.${mode}
            COMMAND /usr/bin/python3 -m pytest -q tests/session
                    --mode=${mode} --proc9d=$<TARGET_FILE:proc9d>
                    --programs=${PROJECT_BINARY_DIR}/client
            WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
        set_tests_properties(session.${mode} PROPERTIES TIMEOUT 900 LABELS session
            ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
    endforeach()
endif()

if(TARGET proc9d)
    add_test(NAME bench.quick COMMAND ${tests}/bench/run --quick --build ${PROJECT_BINARY_DIR})
    set_tests_properties(bench.quick PROPERTIES TIMEOUT 120 LABELS bench ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
endif()

if(PROC9_LINT)
    # Of another compiler and in a directory of its own: build/fuzz.
    add_test(NAME fuzz COMMAND ${tests}/fuzz/run --quick)
    set_tests_properties(fuzz PROPERTIES TIMEOUT 900 PROCESSORS 2 LABELS fuzz)
    if(PROC9_ARCH STREQUAL x86_64)
        add_test(NAME cross.arm64 COMMAND ${tests}/cross/run ${PROJECT_BINARY_DIR}/arm64)
        set_tests_properties(cross.arm64 PROPERTIES TIMEOUT 900 LABELS build ENVIRONMENT PYTHONDONTWRITEBYTECODE=1)
    endif()
    include(Lint)
endif()

# The fuzzers: tests/fuzz/NAME.cpp is fuzz_NAME, with tests/fuzz/corpus/NAME. tests/fuzz/run builds and runs them.
#
#     fuzz.<name>     a run of a few seconds that begins with the corpus

set(fuzz ${PROJECT_SOURCE_DIR}/tests/fuzz)

# All words that commands and files know.
add_executable(fuzz_dictionary ${fuzz}/dictionary/main.cpp)
target_link_libraries(fuzz_dictionary PRIVATE proc9::node)
target_link_options(fuzz_dictionary PRIVATE -fsanitize=fuzzer-no-link)
set(dictionary ${PROJECT_BINARY_DIR}/dictionary)
add_custom_command(OUTPUT ${dictionary} COMMAND fuzz_dictionary > ${dictionary} DEPENDS fuzz_dictionary VERBATIM)

add_library(fuzz_fakes STATIC ${PROJECT_SOURCE_DIR}/tests/unit/fake_host.cpp)
target_link_libraries(fuzz_fakes PUBLIC proc9::core)

add_custom_target(fuzzers DEPENDS ${dictionary})
file(GLOB sources CONFIGURE_DEPENDS ${fuzz}/*.cpp)
foreach(source ${sources})
    cmake_path(GET source STEM name)
    add_executable(fuzz_${name} ${source})
    target_link_libraries(fuzz_${name} PRIVATE fuzz_fakes proc9::fuse proc9::os client_elf)
    target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
    add_dependencies(fuzzers fuzz_${name})
    add_test(NAME fuzz.${name} COMMAND ${fuzz}/run --quick ${name})
    set_tests_properties(fuzz.${name} PROPERTIES TIMEOUT 120 LABELS fuzz)
endforeach()

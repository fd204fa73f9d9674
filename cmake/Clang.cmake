# Toolchain of the preset `fuzz`: the newest clang that has libFuzzer beside it (cmake/install-dependencies.sh --fuzz). One
# older than 16 cannot compile the coroutines of libstdc++.

file(GLOB fuzzer_libraries /usr/lib/llvm-*/lib/clang/*/lib/linux/libclang_rt.fuzzer-${CMAKE_HOST_SYSTEM_PROCESSOR}.a)
list(SORT fuzzer_libraries COMPARE NATURAL ORDER DESCENDING)
list(FILTER fuzzer_libraries INCLUDE REGEX "^/usr/lib/llvm-(1[6-9]|[2-9][0-9])/")
if(NOT fuzzer_libraries)
    message(FATAL_ERROR "no clang with libFuzzer here: cmake/install-dependencies.sh --fuzz")
endif()
list(GET fuzzer_libraries 0 newest)
string(REGEX MATCH "^/usr/lib/llvm-[0-9]+" clang ${newest})
set(CMAKE_C_COMPILER ${clang}/bin/clang)
set(CMAKE_CXX_COMPILER ${clang}/bin/clang++)

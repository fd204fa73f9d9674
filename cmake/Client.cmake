# libproc9, static and shared, and libproc9_preload.so, which puts it in the place of the C library's own functions.
# C alone: programs in any language can load them, and nothing else comes along.

set(client ${PROJECT_SOURCE_DIR}/client)
file(GLOB client_sources CONFIGURE_DEPENDS ${client}/*.c)
file(GLOB preload_sources CONFIGURE_DEPENDS ${client}/preload/*.c)

add_library(client_objects OBJECT ${client_sources})
set_target_properties(client_objects PROPERTIES POSITION_INDEPENDENT_CODE ON C_EXTENSIONS ON)
target_include_directories(client_objects PUBLIC ${PROJECT_SOURCE_DIR} PRIVATE ${client}/${PROC9_ARCH})
target_compile_definitions(client_objects PUBLIC _GNU_SOURCE)
target_compile_options(client_objects PRIVATE -Wall -Wextra -Wshadow -Wconversion $<$<BOOL:${PROC9_WERROR}>:-Werror>)

add_library(proc9_static STATIC $<TARGET_OBJECTS:client_objects>)
add_library(proc9_shared SHARED $<TARGET_OBJECTS:client_objects>)
target_link_options(proc9_shared PRIVATE -Wl,--version-script=${client}/libproc9.map -Wl,--no-undefined)
set_target_properties(proc9_shared PROPERTIES VERSION ${PROJECT_VERSION} SOVERSION 1
    LINK_DEPENDS ${client}/libproc9.map)
set_target_properties(proc9_shared PROPERTIES EXPORT_NAME proc9)
set_target_properties(proc9_static PROPERTIES EXPORT_NAME static)
foreach(library proc9_static proc9_shared)
    target_link_libraries(${library} PRIVATE Threads::Threads)
    target_include_directories(${library} INTERFACE $<BUILD_INTERFACE:${client}> $<INSTALL_INTERFACE:include>)
endforeach()
set_target_properties(proc9_static proc9_shared PROPERTIES OUTPUT_NAME proc9
    ARCHIVE_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/client LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/client)

add_library(proc9_preload SHARED ${preload_sources} $<TARGET_OBJECTS:client_objects>)
target_link_libraries(proc9_preload PRIVATE ${CMAKE_DL_LIBS})
target_include_directories(proc9_preload PRIVATE ${PROJECT_SOURCE_DIR})
target_compile_definitions(proc9_preload PRIVATE _GNU_SOURCE)
target_link_options(proc9_preload PRIVATE -Wl,--version-script=${client}/preload/preload.map -Wl,--no-undefined)
set_target_properties(proc9_preload PROPERTIES C_EXTENSIONS ON LINK_DEPENDS ${client}/preload/preload.map
    LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/client)

# Programs started without execve.
file(GLOB elf_sources CONFIGURE_DEPENDS ${client}/elf/*.cpp)
add_library(client_elf STATIC ${elf_sources})
target_include_directories(client_elf PUBLIC ${client}/${PROC9_ARCH})
target_link_libraries(client_elf PUBLIC proc9_options proc9_static proc9_fmt)

# The command line. It knows the files of the mount and the library; C++ of the project's own flags.
file(GLOB p9_sources CONFIGURE_DEPENDS ${client}/p9/*.cpp)
proc9_program(p9 ${p9_sources})
target_link_libraries(p9 PRIVATE client_elf proc9_options proc9_static proc9_fmt nlohmann_json::nlohmann_json)
set_target_properties(p9 PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/client)
foreach(shell bash zsh fish)
    proc9_embed_text(p9 client/p9/completions/p9.${shell} proc9::p9::${shell}_completion)
endforeach()

# The code inside an embryo: a static ELF without libc, embedded in a room as the bytes from proc9_stub_begin to
# proc9_stub_end.

set(PROC9_ARCH ${CMAKE_SYSTEM_PROCESSOR})

# Nothing the compiler might add on its own may get in: no libc, no FP or vector registers (they are the user's), no
# stack protector, no unwind tables, no sanitizers.
set(proc9_stub_flags -ffreestanding -fno-builtin -fno-stack-protector -fpie -Os -fomit-frame-pointer
    -fno-asynchronous-unwind-tables -fno-unwind-tables -fno-ident -Wall -Wextra -Wshadow)
if(CMAKE_C_COMPILER_ID STREQUAL GNU)
    # Else a hand-written memset would be recognised and become a call to itself.
    list(APPEND proc9_stub_flags -fno-tree-loop-distribute-patterns)
endif()
if(PROC9_ARCH MATCHES "x86_64|aarch64")
    list(APPEND proc9_stub_flags -mgeneral-regs-only)
endif()
if(PROC9_ARCH STREQUAL x86_64)
    list(APPEND proc9_stub_flags -fcf-protection=none)
endif()

# proc9_embed_stub(ROOM): builds daemon/stub/*.c and daemon/stub/<arch>/* and adds the result to the room's library.
function(proc9_embed_stub room)
    set(dir ${PROJECT_SOURCE_DIR}/daemon/stub)
    set(script ${dir}/${PROC9_ARCH}/stub.ld)
    file(GLOB sources CONFIGURE_DEPENDS ${dir}/*.c ${dir}/${PROC9_ARCH}/*.c ${dir}/${PROC9_ARCH}/*.S)
    file(GLOB script_found CONFIGURE_DEPENDS ${script})
    get_target_property(room_type proc9_${room} TYPE)
    if(NOT sources OR NOT script_found OR room_type STREQUAL INTERFACE_LIBRARY)
        message(STATUS "no stub for ${PROC9_ARCH} yet: proc9_stub_begin stays undefined")
        return()
    endif()

    add_executable(proc9_stub ${sources})
    set_target_properties(proc9_stub PROPERTIES C_EXTENSIONS ON POSITION_INDEPENDENT_CODE OFF LINK_DEPENDS ${script})
    target_include_directories(proc9_stub PRIVATE ${PROJECT_SOURCE_DIR} ${dir}/${PROC9_ARCH})
    target_compile_options(proc9_stub PRIVATE ${proc9_stub_flags})
    target_link_options(proc9_stub PRIVATE -static -nostdlib $<$<C_COMPILER_ID:GNU>:-no-pie> -T ${script} -Wl,--build-id=none
        -Wl,-z,noexecstack -Wl,-z,max-page-size=4096)

    set(stripped ${PROJECT_BINARY_DIR}/proc9_stub.stripped)
    add_custom_command(OUTPUT ${stripped}
        COMMAND ${CMAKE_STRIP} --strip-all -o ${stripped} $<TARGET_FILE:proc9_stub>
        DEPENDS proc9_stub
        VERBATIM)

    set(embedding ${PROJECT_BINARY_DIR}/stub_embedding.S)
    file(CONFIGURE OUTPUT ${embedding} CONTENT [[
    .section .rodata
    .global proc9_stub_begin, proc9_stub_end
    .balign 16
proc9_stub_begin:
    .incbin "@stripped@"
proc9_stub_end:
    .section .note.GNU-stack, "", %progbits
]] @ONLY)
    set_source_files_properties(${embedding} PROPERTIES OBJECT_DEPENDS ${stripped})
    target_sources(proc9_${room} PRIVATE ${embedding})
endfunction()

# The code inside an embryo: a static ELF without libc, embedded in a room as the bytes from proc9_stub_begin to
# proc9_stub_end.

set(PROC9_ARCH ${CMAKE_SYSTEM_PROCESSOR})

# Nothing the compiler might add on its own may get in: no libc, no FP or vector registers (they are the user's), no
# stack protector, no unwind tables, no sanitizers.
set(proc9_stub_flags -ffreestanding -fno-builtin -fno-stack-protector -fpie -Os -fomit-frame-pointer
    -fno-asynchronous-unwind-tables -fno-unwind-tables -fno-ident -mgeneral-regs-only -Wall -Wextra -Wshadow)
if(CMAKE_C_COMPILER_ID STREQUAL GNU)
    # Else a hand-written memset would be recognised and become a call to itself.
    list(APPEND proc9_stub_flags -fno-tree-loop-distribute-patterns)
endif()
set(proc9_stub_flags_x86_64 -fcf-protection=none)
set(proc9_stub_flags_aarch64 -mbranch-protection=none)

# proc9_embed_stub(ROOM): builds daemon/stub with the arch.h of the architecture and adds the result to the room's library.
function(proc9_embed_stub room)
    set(dir ${PROJECT_SOURCE_DIR}/daemon/stub)
    set(script ${dir}/stub.ld)
    add_executable(proc9_stub ${dir}/stub.c)
    set_target_properties(proc9_stub PROPERTIES C_EXTENSIONS ON POSITION_INDEPENDENT_CODE OFF LINK_DEPENDS ${script})
    target_include_directories(proc9_stub PRIVATE ${PROJECT_SOURCE_DIR} ${dir}/${PROC9_ARCH})
    target_compile_options(proc9_stub PRIVATE ${proc9_stub_flags} ${proc9_stub_flags_${PROC9_ARCH}})
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

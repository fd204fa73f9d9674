/* What a program that is built has to do with the machine, x86-64. */
#pragma once

#define MACHINE_NAME "x86-64"
#define MACHINE_ELF EM_X86_64
#define MACHINE_ADDRESSES_END 0x7ffffffff000  /* of the user */
#define MACHINE_PROGRAMS_START 0x555555554000 /* of those that can be moved, without randomness */
#define MACHINE_HAS_MAP_VDSO 1

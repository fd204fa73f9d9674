/* What a program that is built has to do with the machine, arm64. */
#pragma once

#define MACHINE_NAME "arm64"
#define MACHINE_ELF EM_AARCH64
#define MACHINE_ADDRESSES_END 0x1000000000000 /* of the user */
#define MACHINE_PROGRAMS_START 0xaaaaaaaaa000 /* of those that can be moved, without randomness */
#define MACHINE_HAS_MAP_VDSO 0

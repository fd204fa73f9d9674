/* System calls without a C library, arm64. The kernel leaves all registers but x0 as they were. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "daemon/stub/wire.h"

#define ADDRESS_SPACE_END 0x1000000000000 /* 48 bits */

/* What GCC calls by itself for a structure that is large. */
void* memset(void* to, int byte, size_t size) {
    for (size_t i = 0; i < size; ++i) ((volatile uint8_t*)to)[i] = (uint8_t)byte;
    return to;
}
void* memcpy(void* to, const void* from, size_t size) {
    for (size_t i = 0; i < size; ++i) ((volatile uint8_t*)to)[i] = ((const uint8_t*)from)[i];
    return to;
}

static inline int64_t raw_syscall(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                                  uint64_t e, uint64_t f) {
    register uint64_t x8 __asm__("x8") = number;
    register uint64_t x0 __asm__("x0") = a;
    register uint64_t x1 __asm__("x1") = b;
    register uint64_t x2 __asm__("x2") = c;
    register uint64_t x3 __asm__("x3") = d;
    register uint64_t x4 __asm__("x4") = e;
    register uint64_t x5 __asm__("x5") = f;
    __asm__ volatile("svc #0"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
                     : "memory");
    return (int64_t)x0;
}

/* A child that begins with `code` on the stack that the arguments name. */
static inline int64_t clone_at(const void* arguments, uint64_t size, uint64_t code,
                               uint64_t argument) {
    register uint64_t x8 __asm__("x8") = 435;
    register uint64_t x0 __asm__("x0") = (uint64_t)arguments;
    register uint64_t x1 __asm__("x1") = size;
    register uint64_t x9 __asm__("x9") = code;
    register uint64_t x10 __asm__("x10") = argument;
    __asm__ volatile("svc #0\n"
                     "cbnz x0, 1f\n"
                     "mov x29, #0\n"
                     "mov x30, #0\n"
                     "mov x0, x10\n"
                     "br x9\n"
                     "1:"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x9), "r"(x10)
                     : "memory");
    return (int64_t)x0;
}

/* A thread that waits as long as *word is `value`, then ends; it never touches a stack. Answers its
 * id, to the caller alone. */
static inline int64_t clone_parked(const void* arguments, uint64_t size, const uint32_t* word,
                                   uint32_t value) {
    register uint64_t x8 __asm__("x8") = 435;
    register uint64_t x0 __asm__("x0") = (uint64_t)arguments;
    register uint64_t x1 __asm__("x1") = size;
    register const uint32_t* x9 __asm__("x9") = word;
    register uint64_t x10 __asm__("x10") = value;
    __asm__ volatile("svc #0\n"
                     "cbnz x0, 2f\n"
                     "1: mov x8, #98\n" /* futex */
                     "mov x0, x9\n"
                     "mov x1, #128\n" /* FUTEX_WAIT_PRIVATE */
                     "mov x2, x10\n"
                     "mov x3, #0\n"
                     "svc #0\n"
                     "ldr w4, [x9]\n"
                     "cmp w4, w10\n"
                     "b.eq 1b\n"
                     "mov x8, #93\n" /* exit */
                     "mov x0, #0\n"
                     "svc #0\n"
                     "2:"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x9), "r"(x10)
                     : "x2", "x3", "x4", "cc", "memory");
    return (int64_t)x0;
}

/* Goes on at `code` with an empty stack; the function there gets `argument` and never returns. */
__attribute__((noreturn)) static inline void jump_on_stack(uint64_t code, uint64_t stack,
                                                           uint64_t argument) {
    register uint64_t x0 __asm__("x0") = argument;
    register uint64_t x9 __asm__("x9") = code;
    register uint64_t x10 __asm__("x10") = stack;
    __asm__ volatile("mov sp, x10\n"
                     "mov x29, #0\n"
                     "mov x30, #0\n"
                     "br x9"
                     :
                     : "r"(x0), "r"(x9), "r"(x10)
                     : "memory");
    __builtin_unreachable();
}

/* The first byte of the pages, for whoever calls them: (pages, link). Goes on with adopted() on their
 * own stack, and has the caller's registers on the caller's. GCC has no naked functions here. */
_Static_assert(PROC9_STUB_SIZE == 0x10000, "the number below");
__asm__(".pushsection .text.adopt, \"ax\", %progbits\n"
        "stp x29, x30, [sp, #-96]!\n"
        "stp x19, x20, [sp, #16]\n"
        "stp x21, x22, [sp, #32]\n"
        "stp x23, x24, [sp, #48]\n"
        "stp x25, x26, [sp, #64]\n"
        "stp x27, x28, [sp, #80]\n"
        "mov x2, sp\n"
        "mov x3, #(0x10000 - 64)\n"
        "add x3, x0, x3\n"
        "mov sp, x3\n"
        "mov x29, #0\n"
        "mov x30, #0\n"
        "b adopted\n"
        ".popsection\n");

/* Lets that call return, with this answer. */
__attribute__((noreturn)) static inline void return_on_stack(uint64_t stack, uint64_t answer) {
    register uint64_t x0 __asm__("x0") = answer;
    register uint64_t x9 __asm__("x9") = stack;
    __asm__ volatile("mov sp, x9\n"
                     "ldp x19, x20, [sp, #16]\n"
                     "ldp x21, x22, [sp, #32]\n"
                     "ldp x23, x24, [sp, #48]\n"
                     "ldp x25, x26, [sp, #64]\n"
                     "ldp x27, x28, [sp, #80]\n"
                     "ldp x29, x30, [sp], #96\n"
                     "ret"
                     :
                     : "r"(x0), "r"(x9)
                     : "memory");
    __builtin_unreachable();
}

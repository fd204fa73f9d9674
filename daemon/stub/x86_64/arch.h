/* System calls without a C library, x86-64. */
#pragma once

#include <stdint.h>

static inline int64_t raw_syscall(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d,
                                  uint64_t e, uint64_t f) {
    int64_t result;
    register uint64_t r10 __asm__("r10") = d;
    register uint64_t r8 __asm__("r8") = e;
    register uint64_t r9 __asm__("r9") = f;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

/* Goes on at `code` with an empty stack; the function there gets `argument` and never returns. */
__attribute__((noreturn)) static inline void jump_on_stack(uint64_t code, uint64_t stack,
                                                           uint64_t argument) {
    __asm__ volatile("mov %1, %%rsp\n"
                     "xor %%ebp, %%ebp\n"
                     "call *%0"
                     :
                     : "r"(code), "r"(stack), "D"(argument)
                     : "memory");
    __builtin_unreachable();
}

/* System calls without a C library, x86-64. */
#pragma once

#include <stdint.h>

#include "daemon/stub/wire.h"

#define ADDRESS_SPACE_END 0x7ffffffff000

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

/* A child that begins with `code` on the stack that the arguments name. */
static inline int64_t clone_at(const void* arguments, uint64_t size, uint64_t code,
                               uint64_t argument) {
    int64_t result;
    register uint64_t r12 __asm__("r12") = code;
    register uint64_t r13 __asm__("r13") = argument;
    __asm__ volatile("syscall\n"
                     "test %%rax, %%rax\n"
                     "jnz 1f\n"
                     "xor %%ebp, %%ebp\n"
                     "mov %%r13, %%rdi\n"
                     "call *%%r12\n"
                     "1:"
                     : "=a"(result)
                     : "a"(435), "D"(arguments), "S"(size), "r"(r12), "r"(r13)
                     : "rcx", "r11", "memory");
    return result;
}

/* A thread that waits as long as *word is `value`, then ends; it never touches a stack. Answers its
 * id, to the caller alone. */
static inline int64_t clone_parked(const void* arguments, uint64_t size, const uint32_t* word,
                                   uint32_t value) {
    int64_t result;
    register const uint32_t* r12 __asm__("r12") = word;
    register uint64_t r13 __asm__("r13") = value;
    __asm__ volatile("syscall\n"
                     "test %%rax, %%rax\n"
                     "jnz 2f\n"
                     "1: mov $202, %%eax\n" /* futex */
                     "mov %%r12, %%rdi\n"
                     "mov $128, %%esi\n" /* FUTEX_WAIT_PRIVATE */
                     "mov %%r13, %%rdx\n"
                     "xor %%r10d, %%r10d\n"
                     "syscall\n"
                     "cmp %%r13d, (%%r12)\n"
                     "je 1b\n"
                     "mov $60, %%eax\n" /* exit */
                     "xor %%edi, %%edi\n"
                     "syscall\n"
                     "2:"
                     : "=a"(result)
                     : "a"(435), "D"(arguments), "S"(size), "r"(r12), "r"(r13)
                     : "rcx", "rdx", "r10", "r11", "memory");
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

/* The first byte of the pages, for whoever calls them: (pages, link). Goes on with adopted() on their
 * own stack, and has the caller's registers on the caller's. */
_Static_assert(PROC9_STUB_SIZE == 0x10000, "the number below");
__attribute__((naked, section(".text.adopt"), used)) void adopt(void);
__attribute__((naked, section(".text.adopt"), used)) void adopt(void) {
    __asm__("push %rbx\n"
            "push %rbp\n"
            "push %r12\n"
            "push %r13\n"
            "push %r14\n"
            "push %r15\n"
            "mov %rsp, %rdx\n"
            "lea (0x10000 - 64)(%rdi), %rsp\n"
            "xor %ebp, %ebp\n"
            "call adopted\n");
}

/* Lets that call return, with this answer. */
__attribute__((noreturn)) static inline void return_on_stack(uint64_t stack, uint64_t answer) {
    __asm__ volatile("mov %0, %%rsp\n"
                     "pop %%r15\n"
                     "pop %%r14\n"
                     "pop %%r13\n"
                     "pop %%r12\n"
                     "pop %%rbp\n"
                     "pop %%rbx\n"
                     "ret"
                     :
                     : "r"(stack), "a"(answer)
                     : "memory");
    __builtin_unreachable();
}

/* Calls the stub's pages as one who asks to be adopted, with its link where the test has put it: cross_caller STUB BASE.
 * What belongs to the caller by the calling convention has to be there afterwards. */
#include <elf.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/stub/wire.h"

typedef char* (*code)(char* pages, long link);

/* Of the segment that can be executed. */
static int read_code(const char* path, char* to) {
    Elf64_Ehdr header;
    Elf64_Phdr segment;
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (pread(file, &header, sizeof header, 0) != sizeof header) return 0;
    for (off_t at = (off_t)header.e_phoff;; at += (off_t)sizeof segment) {
        if (pread(file, &segment, sizeof segment, at) != sizeof segment) return 0;
        if (segment.p_type == PT_LOAD && segment.p_flags & PF_X) break;
    }
    return pread(file, to, segment.p_filesz, (off_t)segment.p_offset) == (ssize_t)segment.p_filesz;
}

/* More values than there are registers that a call may change, so that the compiler keeps some in the others. */
__attribute__((noinline)) static uint64_t call_amid_work(code callee, char* pages, uint64_t seed) {
    uint64_t v[12];
    double d = (double)seed / 3;
    for (unsigned i = 0; i < 12; ++i) v[i] = seed * (2 * i + 3);
    uint64_t a = v[0], b = v[1], c = v[2], e = v[3], f = v[4], g = v[5], h = v[6], i = v[7],
             j = v[8], k = v[9];
    char* const now = callee(pages, PROC9_LINK);
    munmap(now, PROC9_STUB_SIZE);
    return a ^ b << 1 ^ c << 2 ^ e << 3 ^ f << 4 ^ g << 5 ^ h << 6 ^ i << 7 ^ j << 8 ^ k << 9 ^
           (uint64_t)(d * 1e6);
}

static char* nobody(char* pages, long link) {
    (void)link;
    return pages;
}

int main(int argc, char** argv) {
    if (argc != 3) return 2;
    char* const base = (char*)strtoull(argv[2], NULL, 16);
    char* const pages = mmap(base, PROC9_STUB_SIZE, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (pages != base || !read_code(argv[1], pages)) return 3;
    if (mprotect(pages, PROC9_STUB_TEXT, PROT_READ | PROT_EXEC) < 0) return 4;
    const uint64_t seed = (uint64_t)getpid();
    const uint64_t got = call_amid_work((code)(void*)pages, pages, seed);
    return got == call_amid_work(nobody, pages, seed) ? 0 : 1;
}

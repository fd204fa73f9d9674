/* What the daemon and a stub say to each other over their link, a SOCK_SEQPACKET pair.
 *
 * The daemon sends one batch, the stub runs its calls in order and sends the same bytes back with
 * the results filled in, cut to `reply` bytes. Arguments that are pointers point into the batch
 * itself, which the stub receives at `proc9_buffer(base)`: nothing has to be relocated. Descriptors
 * travel beside the batch.
 *
 * The stub trusts the daemon. The daemon trusts nothing that comes back: who owns an embryo may
 * have replaced its stub.
 */
#pragma once

#include <stdint.h>

/* The hidden pages: [text][buffer][stack], one range, so that one munmap removes them. The place
 * is one that no loader, linker or random layout uses; the stub moves when the user wants it. */
#define PROC9_STUB_BASE 0x3c9000000000
#define PROC9_STUB_TEXT 0x1000
#define PROC9_STUB_BUFFER 0xd000 /* holds the longest seccomp filter, 0x8000, and a command */
#define PROC9_STUB_STACK 0x2000
#define PROC9_STUB_PARKING (PROC9_STUB_TEXT + PROC9_STUB_BUFFER) /* a word that the stack leaves */
#define PROC9_STUB_SIZE (PROC9_STUB_TEXT + PROC9_STUB_BUFFER + PROC9_STUB_STACK)

/* Where the link is at birth: the last number that needs no bigger descriptor table. */
#define PROC9_LINK 63

#define PROC9_MOST_DESCRIPTORS 16
#define PROC9_MOST_ERRNO 4095

/* Calls that are not system calls. */
enum {
    PROC9_CALL_INSTALL = 0x10000, /* (fd, number, close_on_exec): fd becomes number */
    PROC9_CALL_MOVE_LINK,         /* (least): the link moves to a free number >= least, or to any */
    PROC9_CALL_MOVE_STUB,         /* (base): the hidden pages move; the last call of its batch */
    PROC9_CALL_CLONE,             /* (clone_args, size, fd): a blank child whose link is fd */
    PROC9_CALL_FORK,              /* the same, and it keeps its descriptors and its name */
    PROC9_CALL_SHARE, /* (clone_args, size, fd, base): a child that has contexts of this one, as the
                         flags say; with CLONE_VM its hidden pages are at base */
    PROC9_CALL_IGNORE, /* (set): these signals are ignored, all others not; bit 0 is signal 1 */
    PROC9_CALL_PARK,   /* (): a thread that waits on the parking word */
    PROC9_CALL_UNPARK, /* (ids, count): all those threads end, before the call does */
    PROC9_CALL_RETURN, /* (signal): answers, closes the link, raises the signal if it is not 0 and
                          returns to who called the pages; the last of its batch. EINVAL if nobody
                          did */
};

enum {
    PROC9_KEEP_GOING = 1, /* an error here does not stop the batch */
    PROC9_ALWAYS = 2,     /* runs after a stop too, unless what it refers to failed */
    PROC9_SEARCH = 4,     /* ENOENT, ENOTDIR and EACCES do not stop the batch */
};

/* The result of a call that was not reached. */
#define PROC9_NOT_RUN INT64_MIN

struct proc9_call {
    uint32_t number;
    uint16_t flags;
    uint8_t results;     /* bit i: argument i is the index of an earlier call: take its result */
    uint8_t descriptors; /* bit i: argument i is the index of a descriptor sent with the batch */
    uint64_t arguments[6];
    int64_t result;
};

struct proc9_batch {
    uint32_t count;
    uint32_t reply; /* bytes to send back; 0: do not answer */
    __extension__ struct proc9_call calls[];
};

/* The first message of a stub: where it has its link and its pages. */
struct proc9_hello {
    uint64_t link;
    uint64_t base;
};

/* What a process gets that asks to be adopted, followed by `text` bytes of code. It maps `size` bytes at
 * `base`, or elsewhere with nothing near, puts the code at the beginning, makes that executable, and
 * calls the first byte as `void* code(void* pages, long link)`. When the call returns the pages are
 * where the answer says, and the caller's to unmap. */
struct proc9_pages {
    uint64_t base;
    uint64_t size;
    uint64_t text;
};

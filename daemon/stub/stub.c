/* The code inside an embryo and inside a zygote: runs the batches that come over the link.
 *
 * No C library, no data of its own: the state is the link's number and the place of the pages, kept
 * in registers and on the stack, so that the pages can be copied to another place and go on there.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/futex.h>
#include <linux/prctl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "arch.h"
#include "daemon/stub/wire.h"

struct stub {
    uint64_t base; /* of the hidden pages */
    int64_t link;
    uint64_t caller; /* the stack of who called them; 0: nobody, they were made for this */
    int received[PROC9_MOST_DESCRIPTORS];
};

static int64_t call(uint64_t number, uint64_t a, uint64_t b, uint64_t c) {
    return raw_syscall(number, a, b, c, 0, 0, 0);
}

static int failed(int64_t result) {
    return result < 0 && (result >= -PROC9_MOST_ERRNO || result == PROC9_NOT_RUN);
}

static struct proc9_batch* buffer(const struct stub* stub) {
    return (struct proc9_batch*)(stub->base + PROC9_STUB_TEXT);
}

static struct stub* stub_on_stack(uint64_t base) {
    return (struct stub*)(base + PROC9_STUB_SIZE - 512);
}

static void serve(struct stub* stub) __attribute__((noreturn));

static void leave(void) __attribute__((noreturn));
static void leave(void) {
    for (;;) call(SYS_exit_group, 0, 0, 0);
}

/* All descriptors go but the link, which gets its own number unless a limit forbids it. */
static void keep_only_link(struct stub* stub, int64_t link) {
    if (link != PROC9_LINK && !failed(call(SYS_dup3, link, PROC9_LINK, O_CLOEXEC)))
        link = PROC9_LINK;
    if (link > 0) call(SYS_close_range, 0, link - 1, 0);
    call(SYS_close_range, link + 1, ~0U, 0);
    stub->link = link;
    call(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0);
}

static void set_name(const char* name) { call(SYS_prctl, PR_SET_NAME, (uint64_t)name, 0); }

static void say_hello(const struct stub* stub) {
    const struct proc9_hello hello = {(uint64_t)stub->link, stub->base};
    raw_syscall(SYS_sendto, stub->link, (uint64_t)&hello, sizeof hello, MSG_NOSIGNAL, 0, 0);
}

/* Another one that was received, and is not where it belongs yet, gives way. */
static int64_t make_room(struct stub* stub, int64_t fd, int64_t number) {
    for (size_t i = 0; i < PROC9_MOST_DESCRIPTORS; ++i) {
        if (stub->received[i] != number) continue;
        const int64_t moved = fd == number ? -1 : call(SYS_fcntl, number, F_DUPFD_CLOEXEC, 0);
        if (failed(moved) && fd != number) return moved;
        stub->received[i] = (int)moved;
    }
    return 0;
}

static int64_t install(struct stub* stub, int64_t fd, int64_t number, uint64_t close_on_exec) {
    const int64_t room = make_room(stub, fd, number);
    if (failed(room)) return room;
    if (fd == number) {
        call(SYS_fcntl, fd, F_SETFD, close_on_exec ? FD_CLOEXEC : 0);
        return number;
    }
    const int64_t result = call(SYS_dup3, fd, number, close_on_exec ? O_CLOEXEC : 0);
    call(SYS_close, fd, 0, 0);
    for (size_t i = 0; i < PROC9_MOST_DESCRIPTORS; ++i) {
        if (stub->received[i] == fd) stub->received[i] = -1;
    }
    return result;
}

static int64_t move_link(struct stub* stub, uint64_t least) {
    int64_t moved = call(SYS_fcntl, stub->link, F_DUPFD_CLOEXEC, least);
    if (failed(moved)) moved = call(SYS_fcntl, stub->link, F_DUPFD_CLOEXEC, 0);
    if (failed(moved)) return moved;
    call(SYS_close, stub->link, 0, 0);
    stub->link = moved;
    return moved;
}

static int64_t clone_child(struct stub* stub, uint64_t arguments, uint64_t size, int64_t link) {
    const int64_t child = call(SYS_clone3, arguments, size, 0);
    if (child != 0) return child;
    keep_only_link(stub, link);
    set_name("proc9-stub");
    say_hello(stub);
    serve(stub);
}

static int64_t fork_child(struct stub* stub, uint64_t arguments, uint64_t size, int64_t link) {
    const int64_t child = call(SYS_clone3, arguments, size, 0);
    if (child != 0) return child;
    /* The parent's own link is not the child's; its number is, unless a limit forbids that. */
    if (failed(call(SYS_dup3, link, stub->link, O_CLOEXEC))) {
        const int64_t number = link;
        link = stub->link;
        stub->link = number;
    }
    for (size_t i = 0; i < PROC9_MOST_DESCRIPTORS; ++i) { /* its own and its siblings' */
        const int64_t received = stub->received[i];
        if (received >= 0 && received != stub->link) call(SYS_close, received, 0, 0);
    }
    if (link != stub->link) call(SYS_close, link, 0, 0);
    call(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0);
    say_hello(stub);
    serve(stub);
}

static uint32_t* parking(const struct stub* stub) {
    return (uint32_t*)(stub->base + PROC9_STUB_PARKING);
}

static int64_t park_thread(const struct stub* stub) {
    struct clone_args how = {0};
    how.flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
    const uint32_t* const word = parking(stub);
    return clone_parked(&how, sizeof how, word, *word);
}

/* A thread that ends leaves its process only some time later: until then many settings are refused. */
static int64_t unpark_threads(const struct stub* stub, const int32_t* threads, uint64_t count) {
    uint32_t* const word = parking(stub);
    *(volatile uint32_t*)word += 1;
    raw_syscall(SYS_futex, (uint64_t)word, FUTEX_WAKE_PRIVATE, INT32_MAX, 0, 0, 0);
    const int64_t self = call(SYS_getpid, 0, 0, 0);
    int patience = 1000000; /* somebody may trace one of them */
    for (uint64_t i = 0; i < count; ++i) {
        while (call(SYS_tgkill, self, threads[i], 0) == 0) {
            if (--patience < 0) return -EBUSY;
            call(SYS_sched_yield, 0, 0, 0);
        }
    }
    return 0;
}

/* The hidden pages once more, with a stub at the top of their stack. */
static int64_t copy_pages(const struct stub* stub, uint64_t base) {
    const int64_t mapped = raw_syscall(SYS_mmap, base, PROC9_STUB_SIZE, PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, ~0ULL, 0);
    if (failed(mapped)) return mapped;
    const volatile uint64_t* from = (const volatile uint64_t*)stub->base;
    volatile uint64_t* to = (volatile uint64_t*)base;
    for (size_t i = 0; i < (PROC9_STUB_TEXT + PROC9_STUB_BUFFER) / sizeof *to; ++i) to[i] = from[i];
    call(SYS_mprotect, base, PROC9_STUB_TEXT, PROT_READ | PROT_EXEC);
    struct stub* const copy = stub_on_stack(base);
    copy->base = base;
    copy->link = stub->link;
    copy->caller = stub->caller;
    return 0;
}

/* The first steps of a child that shares memory, on pages of its own. `received[0]`: whether it
 * shares the descriptors, too. */
static void born(uint64_t packed) __attribute__((noreturn));
static void born(uint64_t packed) {
    struct stub stub = *(const struct stub*)packed;
    if (stub.received[0]) {
        call(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0);
    } else {
        keep_only_link(&stub, stub.link);
    }
    set_name("proc9-stub");
    say_hello(&stub);
    serve(&stub);
}

/* Without memory in common the child is a copy, and takes all of that away but its pages. */
static int64_t share_copy(struct stub* stub, const struct clone_args* how, uint64_t size,
                          int64_t link) {
    const int64_t child = call(SYS_clone3, (uint64_t)how, size, 0);
    if (child != 0) return child;
    const uint64_t end = stub->base + PROC9_STUB_SIZE;
    call(SYS_munmap, 0, stub->base, 0);
    call(SYS_munmap, end, ADDRESS_SPACE_END - end, 0);
    stub->link = link;
    stub->received[0] = (how->flags & CLONE_FILES) != 0;
    born((uint64_t)stub);
}

/* The link moves out of the way. Where to is seen in its argument, also if the child never says hello. */
static int64_t share(struct stub* stub, uint64_t* arguments) {
    struct clone_args* const how = (struct clone_args*)arguments[0];
    const uint64_t size = arguments[1];
    int64_t link = (int64_t)arguments[2];
    const uint64_t base = arguments[3];
    const int shares_files = (how->flags & CLONE_FILES) != 0;
    const int64_t high = call(SYS_fcntl, link, F_DUPFD_CLOEXEC, PROC9_LINK);
    if (!failed(high)) {
        call(SYS_close, link, 0, 0);
        link = high;
        arguments[2] = (uint64_t)high;
    }
    int64_t child;
    if (how->flags & CLONE_VM) {
        child = copy_pages(stub, base);
        if (!failed(child)) {
            struct stub* const copy = stub_on_stack(base);
            copy->link = link;
            copy->received[0] = shares_files;
            how->stack = base + PROC9_STUB_SIZE - PROC9_STUB_STACK;
            how->stack_size = (uint64_t)copy - 64 - how->stack;
            child = clone_at(how, size, (uint64_t)born - stub->base + base, (uint64_t)copy);
            if (failed(child)) call(SYS_munmap, base, PROC9_STUB_SIZE, 0);
        }
    } else {
        child = share_copy(stub, how, size, link);
    }
    if (failed(child) || !shares_files) call(SYS_close, link, 0, 0);
    return child;
}

/* Where the copied pages go on: the old ones are `stub->received[0..1]` as one address. */
static void resume(uint64_t packed) __attribute__((noreturn));
static void resume(uint64_t packed) {
    const struct stub* place = (const struct stub*)packed;
    struct stub stub = *place;
    uint64_t old = 0;
    __builtin_memcpy(&old, stub.received, sizeof old);
    call(SYS_munmap, old, PROC9_STUB_SIZE, 0);
    struct proc9_batch* batch = buffer(&stub);
    raw_syscall(SYS_sendto, stub.link, (uint64_t)batch, batch->reply, MSG_NOSIGNAL, 0, 0);
    serve(&stub);
}

static int64_t move_stub(struct stub* stub, int64_t* result, uint64_t base) {
    *result = (int64_t)base; /* what the copy will answer */
    const int64_t copied = copy_pages(stub, base);
    if (failed(copied)) return copied;
    const uint64_t old = stub->base;
    struct stub* const moved = stub_on_stack(base);
    __builtin_memcpy(moved->received, &old, sizeof old);
    jump_on_stack((uint64_t)resume - old + base, (uint64_t)moved - 64, (uint64_t)moved);
}

static int64_t go_back(struct stub* stub, int64_t* result, uint64_t signal) {
    if (!stub->caller) return -EINVAL;
    *result = 0;
    const struct proc9_batch* batch = buffer(stub);
    raw_syscall(SYS_sendto, stub->link, (uint64_t)batch, batch->reply, MSG_NOSIGNAL, 0, 0);
    call(SYS_close, stub->link, 0, 0);
    if (signal) call(SYS_kill, (uint64_t)call(SYS_getpid, 0, 0, 0), signal, 0);
    return_on_stack(stub->caller, stub->base);
}

/* The kernel refuses two of them, which are never ignored. */
static int64_t ignore_only(uint64_t set) {
    for (uint64_t signal = 1; signal <= 64; ++signal) {
        const uint64_t handler = set >> (signal - 1) & 1; /* SIG_DFL or SIG_IGN */
        const uint64_t action[4] = {handler};             /* flags, restorer, mask */
        raw_syscall(SYS_rt_sigaction, signal, (uint64_t)action, 0, sizeof(uint64_t), 0, 0);
    }
    return 0;
}

static int64_t run(struct stub* stub, struct proc9_call* c) {
    uint64_t* const a = c->arguments;
    switch (c->number) {
        case PROC9_CALL_INSTALL: return install(stub, (int64_t)a[0], (int64_t)a[1], a[2]);
        case PROC9_CALL_MOVE_LINK: return move_link(stub, a[0]);
        case PROC9_CALL_MOVE_STUB: return move_stub(stub, &c->result, a[0]);
        case PROC9_CALL_CLONE: return clone_child(stub, a[0], a[1], (int64_t)a[2]);
        case PROC9_CALL_FORK: return fork_child(stub, a[0], a[1], (int64_t)a[2]);
        case PROC9_CALL_SHARE: return share(stub, a);
        case PROC9_CALL_IGNORE: return ignore_only(a[0]);
        case PROC9_CALL_PARK: return park_thread(stub);
        case PROC9_CALL_UNPARK: return unpark_threads(stub, (const int32_t*)a[0], a[1]);
        case PROC9_CALL_RETURN: return go_back(stub, &c->result, a[0]);
        default: return raw_syscall(c->number, a[0], a[1], a[2], a[3], a[4], a[5]);
    }
}

/* Puts in what earlier calls answered and what came with the batch. 0: one of them failed. */
static int resolve(const struct stub* stub, const struct proc9_batch* batch, struct proc9_call* c) {
    for (unsigned i = 0; i < 6; ++i) {
        if (c->results >> i & 1U) {
            const int64_t earlier = batch->calls[c->arguments[i]].result;
            if (failed(earlier)) return 0;
            c->arguments[i] = (uint64_t)earlier;
        } else if (c->descriptors >> i & 1U) {
            const int received = stub->received[c->arguments[i]];
            if (received < 0) { /* there was no room for it in the table, or it was installed */
                c->result = -EMFILE;
                return 0;
            }
            c->arguments[i] = (uint64_t)received;
        }
    }
    return 1;
}

static int stops(const struct proc9_call* c) {
    if (!failed(c->result) || c->flags & PROC9_KEEP_GOING) return 0;
    const int missing = c->result == -ENOENT || c->result == -ENOTDIR || c->result == -EACCES;
    return !(missing && c->flags & PROC9_SEARCH);
}

static void run_batch(struct stub* stub) {
    struct proc9_batch* batch = buffer(stub);
    int stopped = 0;
    for (uint32_t i = 0; i < batch->count; ++i) {
        struct proc9_call* c = &batch->calls[i];
        c->result = PROC9_NOT_RUN;
        if (stopped && !(c->flags & PROC9_ALWAYS)) continue;
        if (!resolve(stub, batch, c)) {
            stopped |= c->result != PROC9_NOT_RUN && !(c->flags & PROC9_KEEP_GOING);
            continue;
        }
        c->result = run(stub, c);
        if (stops(c)) stopped = 1;
    }
    if (batch->reply)
        raw_syscall(SYS_sendto, stub->link, (uint64_t)batch, batch->reply, MSG_NOSIGNAL, 0, 0);
}

static int64_t receive(struct stub* stub) {
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof stub->received)];
    } control;
    struct iovec bytes = {buffer(stub), PROC9_STUB_BUFFER};
    struct msghdr message = {0};
    message.msg_iov = &bytes;
    message.msg_iovlen = 1;
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    for (size_t i = 0; i < PROC9_MOST_DESCRIPTORS; ++i) stub->received[i] = -1;
    const int64_t got = call(SYS_recvmsg, stub->link, (uint64_t)&message, MSG_CMSG_CLOEXEC);
    const int has_descriptors =
        message.msg_controllen >= sizeof control.header && control.header.cmsg_type == SCM_RIGHTS;
    if (got > 0 && has_descriptors) {
        const int* sent = (const int*)CMSG_DATA(&control.header);
        const size_t count = (control.header.cmsg_len - CMSG_LEN(0)) / sizeof *sent;
        for (size_t i = 0; i < count; ++i) stub->received[i] = sent[i];
    }
    return got;
}

static void serve(struct stub* stub) {
    for (;;) {
        const int64_t got = receive(stub);
        if (got == -EINTR) continue;
        if (got < (int64_t)sizeof(struct proc9_batch)) leave();
        run_batch(stub);
    }
}

/* The first of all: a zygote, exec'd with its link open and everything of an exec'd program mapped. */
static void start(uint64_t base) __attribute__((noreturn));
static void start(uint64_t base) {
    struct stub stub = {.base = base, .link = PROC9_LINK};
    call(SYS_munmap, 0, base, 0);
    call(SYS_munmap, base + PROC9_STUB_SIZE, ADDRESS_SPACE_END - base - PROC9_STUB_SIZE, 0);
    keep_only_link(&stub, PROC9_LINK);
    ignore_only(0); /* posix_spawn leaves the C library's own two ignored, and exec keeps that */
    set_name("proc9-zygote");
    say_hello(&stub);
    serve(&stub);
}

/* In a process that mapped the pages itself and called them. It keeps what it has. */
__attribute__((noreturn, used)) void adopted(uint64_t base, int64_t link, uint64_t caller) {
    struct stub stub = {.base = base, .link = link, .caller = caller};
    call(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0);
    say_hello(&stub);
    serve(&stub);
}

__attribute__((section(".text.start"), noreturn, used)) void _start(void) {
    jump_on_stack((uint64_t)start, PROC9_STUB_BASE + PROC9_STUB_SIZE - 64, PROC9_STUB_BASE);
}

#include "client/adoption.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/rseq.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/mount.h"

/* The message that brings the code of the pages. */
struct pages {
    uint64_t base; /* where they shall be */
    uint64_t size;
    uint64_t text; /* bytes of code, which follow */
};

typedef void* (*code)(void* pages, long link);

static void close_one(int* descriptor) {
    if (*descriptor >= 0) close(*descriptor);
    *descriptor = -1;
}

int adoption_open(struct adoption* adoption) {
    int ends[2] = {-1, -1};
    *adoption = (struct adoption){-1, -1, -1};
    adoption->ctl = mount_open("ctl", O_WRONLY | O_CLOEXEC, 0);
    if (adoption->ctl < 0) return -1;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0) {
        adoption_close(adoption);
        return -1;
    }
    adoption->link = ends[0];
    adoption->parked = ends[1];
    return 0;
}

void adoption_close(struct adoption* adoption) {
    const int problem = errno;
    close_one(&adoption->ctl);
    close_one(&adoption->link);
    close_one(&adoption->parked);
    errno = problem;
}

/* Nothing of ours may lie next to them: the kernel would make one mapping of both. */
static void* map_pages(uint64_t base, uint64_t size) {
    const uint64_t step = UINT64_C(1) << 30;
    for (unsigned tries = 0; tries < 64; ++tries, base += step) {
        void* const wanted = (void*)(uintptr_t)base;
        void* const got = mmap(wanted, size, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        if (got == wanted) return got;
        if (got != MAP_FAILED) munmap(got, size); /* before Linux 4.17 the place is a hint */
    }
    return NULL;
}

static uint64_t whole_pages(uint64_t size) {
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    return (size + page - 1) / page * page;
}

/* NULL: nobody wants to adopt it. */
static void* receive_pages(int link, struct pages* about) {
    if (recv(link, about, sizeof *about, MSG_PEEK) != (ssize_t)sizeof *about) return NULL;
    if (about->text > about->size) return NULL;
    void* const pages = map_pages(about->base, about->size);
    if (!pages) return NULL;
    struct iovec parts[2] = {{about, sizeof *about}, {pages, about->text}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    const ssize_t got = recvmsg(link, &message, 0);
    if (got != (ssize_t)(sizeof *about + about->text)) return NULL;
    if (mprotect(pages, whole_pages(about->text), PROT_READ | PROT_EXEC) < 0) return NULL;
    return pages;
}

void adoption_park(struct adoption* adoption) {
    close_one(&adoption->ctl);
    close_one(&adoption->link);
    struct pages about;
    void* const pages = receive_pages(adoption->parked, &about);
    if (!pages) _exit(EXIT_FAILURE);
    void* const now = ((code)pages)(pages, adoption->parked);
    adoption->parked = -1; /* closed there */
    munmap(now, about.size);
}

/* The C library's registration of restartable sequences: the kernel would end a process whose memory for
 * that has gone. The length must be the one that was registered, and libraries differ. */
static void leave_rseq(void) {
    const uint32_t lengths[] = {32, __rseq_size};
    const long unregister = 1;
    void* const area = (char*)__builtin_thread_pointer() + __rseq_offset;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; ++i)
        syscall(SYS_rseq, area, lengths[i], unregister, RSEQ_SIG);
}

void adoption_park_blank(struct adoption* adoption) {
    const unsigned link = (unsigned)adoption->parked;
    struct pages about;
    if (link > 0) close_range(0, link - 1, 0);
    close_range(link + 1, ~0U, 0);
    prctl(PR_SET_NAME, "proc9-zygote");
    leave_rseq();
    void* const pages = receive_pages(adoption->parked, &about);
    if (pages) ((code)pages)(pages, adoption->parked);
    _exit(EXIT_FAILURE);
}

/* 0; or how many bytes from its end on were refused, with errno; -1: none was written. */
static ssize_t tell(struct adoption* adoption, const char* commands, const char* last) {
    char* text = NULL;
    close_one(&adoption->parked);
    const int length = asprintf(&text, "adopt %d\n%s\n%s", adoption->link, commands, last);
    if (length < 0) return -1;
    const size_t taken = mount_write_lines(adoption->ctl, text, (size_t)length);
    const int problem = errno;
    free(text);
    errno = problem;
    return length - (ssize_t)taken;
}

int adoption_tell(struct adoption* adoption, const char* commands) {
    return tell(adoption, commands, "") == 0 ? 0 : -1;
}

int adoption_resume(struct adoption* adoption, const char* commands) {
    static const char resume[] = "resume\n";
    const ssize_t refused = tell(adoption, commands, resume);
    const int has_started = refused == sizeof resume - 1 && (errno == EPERM || errno == ESRCH);
    return refused == 0 || has_started ? 0 : -1;
}

void adoption_end_child(pid_t child, int pidfd) {
    const int problem = errno;
    siginfo_t info;
    if (pidfd < 0) kill(child, SIGKILL);
    if (pidfd >= 0) pidfd_send_signal(pidfd, SIGKILL, NULL, 0);
    const idtype_t type = pidfd < 0 ? P_PID : P_PIDFD;
    const id_t id = (id_t)(pidfd < 0 ? child : pidfd);
    while (waitid(type, id, &info, WEXITED | __WALL) < 0 && errno == EINTR) continue;
    errno = problem;
}

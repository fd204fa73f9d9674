/* fork(3) and vfork(2) of programs that know nothing of proc9. */
#include <unistd.h>

#include "client/fork.h"
#include "client/preload/libc.h"

static pid_t libc_fork(void) { return LIBC(fork)(); }

pid_t fork(void) {
    const pid_t child = fork_by(libc_fork, "");
    return child < 0 && may_fall_back() ? libc_fork() : child;
}

pid_t __fork(void) __attribute__((alias("fork")));

/* A copy of the caller, as POSIX allows. A child in the caller's own memory could not be adopted: it needs that
 * memory to have the stub's pages, while its parent cannot write to the mount before it is started. */
pid_t vfork(void) __attribute__((alias("fork")));
pid_t __vfork(void) __attribute__((alias("fork")));

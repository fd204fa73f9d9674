#include "client/fork.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "client/adoption.h"
#include "client/proc9.h"

/* Of the fork under way in this thread, if it is one of ours. */
static _Thread_local struct adoption* current;

/* The C library has put its own state in order by now; the program's handlers come after this. */
static void park_child(void) {
    if (current) adoption_park(current);
}

__attribute__((constructor)) static void watch_forks(void) {
    pthread_atfork(NULL, NULL, park_child);
}

/* Signals wait: in the parent, because fork(2) is not interrupted by any; in the child, because it has no
 * stack of its own to handle them on until it goes on. */
pid_t fork_by(pid_t (*libc_fork)(void), const char* commands) {
    struct adoption adoption;
    sigset_t all;
    sigset_t before;
    if (current) return libc_fork(); /* which is this function again, under the preload library */
    if (adoption_open(&adoption) < 0) return -1;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    current = &adoption;
    pid_t child = libc_fork();
    current = NULL;
    const int pidfd = child > 0 ? pidfd_open(child, 0) : -1;
    if (child > 0 && adoption_resume(&adoption, commands) < 0) {
        adoption_end_child(child, pidfd);
        child = -1;
    }
    if (pidfd >= 0) close(pidfd);
    adoption_close(&adoption);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return child;
}

pid_t proc9_fork(void) { return fork_by(fork, ""); }

pid_t proc9_fork_with(const char* commands) { return fork_by(fork, commands); }

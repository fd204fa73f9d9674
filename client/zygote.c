#include "client/zygote.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client/adoption.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pid_t known;
static pid_t parent; /* whose child it is: after fork(2) not the caller's */

/* All that the kernel lets be unmapped; from then on it is blank. It goes with the last copy of this open
 * file, which exec and exit close. */
static const char furnish[] = "unmap 0x1000 0x7fffffffe000\n"
                              "pdeathsig kill-on-close\n";

/* With no signal at its end, and never exec'd, wait(2) does not see it, nor its forks until they exec. */
static pid_t clone_blank(struct adoption* adoption) {
    const long no_signal = 0;
    const pid_t child = (pid_t)syscall(SYS_clone, no_signal, NULL, NULL, NULL, NULL);
    if (child == 0) adoption_park_blank(adoption);
    return child;
}

/* Its ctl stays open on purpose, and is never used again: who closes all descriptors closes it. */
static pid_t make(void) {
    struct adoption adoption;
    sigset_t all;
    sigset_t before;
    if (adoption_open(&adoption) < 0) return -1;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    pid_t child = clone_blank(&adoption);
    const int pidfd = child > 0 ? pidfd_open(child, 0) : -1;
    if (child > 0 && adoption_tell(&adoption, furnish) < 0) {
        adoption_end_child(pidfd);
        child = -1;
    }
    if (pidfd >= 0) close(pidfd);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (child > 0) adoption.ctl = -1;
    adoption_close(&adoption);
    return child;
}

pid_t zygote_of_caller(void) {
    pthread_mutex_lock(&lock);
    if (known <= 0 || parent != getpid()) {
        known = make();
        parent = getpid();
    }
    const pid_t zygote = known;
    pthread_mutex_unlock(&lock);
    return zygote;
}

void zygote_has_gone(pid_t zygote) {
    pthread_mutex_lock(&lock);
    if (known == zygote) known = 0;
    pthread_mutex_unlock(&lock);
}

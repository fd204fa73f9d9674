#include "client/zygote.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/adoption.h"
#include "client/kept.h"
#include "machine.h"

/* What its children have of it and cannot be told to change, as the caller had it. */
struct heritage {
    pid_t parent; /* after fork(2) it is not the caller's child */
    pid_t session;
    pid_t group;
    uid_t users[3];
    gid_t groups[3];
    uint64_t all_groups; /* a hash of them */
    struct __user_cap_data_struct capabilities[2];
    uint64_t root[2]; /* inode and mount: another one in another mount namespace, too */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pid_t known;
static struct kept life = KEPT_NONE; /* it is killed when this is closed */
static struct heritage given;

static uint64_t hash_of_groups(void) {
    uint64_t hash = UINT64_C(14695981039346656037);
    const int room = getgroups(0, NULL);
    gid_t* const groups = room > 0 ? calloc((size_t)room, sizeof *groups) : NULL;
    const int count = groups ? getgroups(room, groups) : 0;
    for (int i = 0; i < count; ++i) hash = (hash ^ groups[i]) * UINT64_C(1099511628211);
    free(groups);
    return hash;
}

static void look(struct heritage* mine) {
    struct __user_cap_header_struct version = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct statx root = {0};
    memset(mine, 0, sizeof *mine); /* holes too: it is compared as bytes */
    mine->parent = getpid();
    mine->session = getsid(0);
    mine->group = getpgrp();
    getresuid(&mine->users[0], &mine->users[1], &mine->users[2]);
    getresgid(&mine->groups[0], &mine->groups[1], &mine->groups[2]);
    mine->all_groups = hash_of_groups();
    syscall(SYS_capget, &version, mine->capabilities);
    statx(AT_FDCWD, "/", AT_NO_AUTOMOUNT, STATX_INO | STATX_MNT_ID, &root);
    mine->root[0] = root.stx_ino;
    mine->root[1] = root.stx_mnt_id;
}

/* All that the kernel lets be unmapped; from then on it is blank. It goes with the last copy of this open
 * file, which exec and exit close. */
static int furnish(struct adoption* adoption) {
    const unsigned long long first = 0x1000;
    char commands[80];
    snprintf(commands, sizeof commands, "unmap %#llx %#llx\npdeathsig kill-on-close\n", first,
             MACHINE_ADDRESSES_END - first);
    return adoption_tell(adoption, commands);
}

/* With no signal at its end, and never exec'd, wait(2) does not see it, nor its forks until they exec. */
static pid_t clone_blank(struct adoption* adoption) {
    const long no_signal = 0;
    const pid_t child = (pid_t)syscall(SYS_clone, no_signal, NULL, NULL, NULL, NULL);
    if (child == 0) adoption_park_blank(adoption);
    return child;
}

/* In a child of fork(2) another thread's turn would never end, and the parent's zygote would not end with it. */
static void forget_in_child(void) {
    pthread_mutex_init(&lock, NULL);
    known = 0;
    kept_close(&life);
}

__attribute__((constructor)) static void watch_forks(void) {
    pthread_atfork(NULL, NULL, forget_in_child);
}

/* Its ctl stays open, and is never used again: who closes all descriptors ends it. */
static pid_t make(void) {
    struct adoption adoption;
    sigset_t all;
    sigset_t before;
    if (adoption_open(&adoption) < 0) return -1;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    pid_t child = clone_blank(&adoption);
    const int pidfd = child > 0 ? pidfd_open(child, 0) : -1;
    if (child > 0 && furnish(&adoption) < 0) {
        adoption_end_child(child, pidfd);
        child = -1;
    }
    if (pidfd >= 0) close(pidfd);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (child > 0) {
        life = kept_open(adoption.ctl);
        adoption.ctl = -1;
    }
    adoption_close(&adoption);
    return child;
}

/* Nobody else can have reaped it, so the number is still its own. */
static void end_known(void) {
    siginfo_t info;
    kept_close(&life);
    if (waitid(P_PID, (id_t)known, &info, WEXITED | WNOHANG | WNOWAIT | __WALL) < 0) return;
    if (kill(known, SIGKILL) < 0) return; /* who gave up its rights may not: it ends with us */
    while (waitpid(known, NULL, __WALL) < 0 && errno == EINTR) continue;
}

pid_t zygote_of_caller(void) {
    struct heritage mine;
    look(&mine);
    pthread_mutex_lock(&lock);
    if (known <= 0 || memcmp(&mine, &given, sizeof mine) != 0) {
        if (known > 0 && given.parent == mine.parent) end_known();
        known = make();
        given = mine;
    }
    const pid_t zygote = known;
    pthread_mutex_unlock(&lock);
    return zygote;
}

int zygote_has_gone(pid_t zygote, int problem) {
    if (problem != ENOENT && problem != ESRCH && problem != EPERM) return 0;
    pthread_mutex_lock(&lock);
    if (known == zygote) {
        end_known();
        known = 0;
    }
    pthread_mutex_unlock(&lock);
    return 1;
}

#include "client/preload/attributes.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stddef.h>
#include <unistd.h>

/* The environment is told. The limits come last: a process may have descriptors beyond its own. */
void inherit_all(struct text* text) {
    text_add(text, "inherit fd\ninherit cwd\ninherit settings\n");
}

static short flags_of(const posix_spawnattr_t* attributes) {
    short flags = 0;
    if (attributes) posix_spawnattr_getflags(attributes, &flags);
    return flags;
}

static const char* const policies[] = {
    [SCHED_OTHER] = "other", [SCHED_FIFO] = "fifo", [SCHED_RR] = "rr",
    [SCHED_BATCH] = "batch", [SCHED_IDLE] = "idle",
};
enum { POLICIES = sizeof policies / sizeof *policies };

/* SETSCHEDPARAM alone leaves the policy as it is. */
static int scheduling(const posix_spawnattr_t* attributes) {
    int policy = sched_getscheduler(0);
    if (flags_of(attributes) & POSIX_SPAWN_SETSCHEDULER)
        posix_spawnattr_getschedpolicy(attributes, &policy);
    return policy;
}

static int say_scheduling(struct child* child, const posix_spawnattr_t* attributes) {
    struct sched_param parameters;
    const int wanted = scheduling(attributes);
    const int policy = wanted & ~SCHED_RESET_ON_FORK;
    posix_spawnattr_getschedparam(attributes, &parameters);
    if (policy < 0 || policy >= POLICIES || !policies[policy] || parameters.sched_priority < 0)
        return child_refuse(child, EINVAL);
    child_say(child, "sched %s %d%s\n", policies[policy], parameters.sched_priority,
              (wanted & SCHED_RESET_ON_FORK) ? " reset-on-fork" : "");
    return 0;
}

static int say_session(struct child* child, const posix_spawnattr_t* attributes) {
    (void)attributes;
    child_say(child, "session\n");
    return 0;
}

enum { HIGHEST_PID = 1 << 22 }; /* of Linux; nobody has it */

static int say_group(struct child* child, const posix_spawnattr_t* attributes) {
    pid_t group = 0;
    posix_spawnattr_getpgroup(attributes, &group);
    if (group == 0) {
        child_say(child, "pgrp new\n");
    } else {
        child_say(child, "pgrp %d\n", group < HIGHEST_PID ? group : HIGHEST_PID);
    }
    return 0;
}

#ifdef POSIX_SPAWN_SETCGROUP
static int say_cgroup(struct child* child, const posix_spawnattr_t* attributes) {
    int directory = -1;
    posix_spawnattr_getcgroup_np(attributes, &directory);
    if (fcntl(directory, F_GETFD) & FD_CLOEXEC)
        child_say(child, "fd %d self:%d\nfd %d cloexec on\n", directory, directory, directory);
    child_say(child, "cgroup /proc/self/fd/%d\n", directory);
    return 0;
}
#endif

/* In the order of the C library. Of POSIX_SPAWN_RESETIDS nothing is left to do: the kernel keeps callers whose ids
 * differ out of the mount. */
static const struct {
    short flags;
    int (*say)(struct child* child, const posix_spawnattr_t* attributes);
} rows[] = {
#ifdef POSIX_SPAWN_SETCGROUP
    {POSIX_SPAWN_SETCGROUP, say_cgroup},
#endif
    {POSIX_SPAWN_SETSCHEDPARAM | POSIX_SPAWN_SETSCHEDULER, say_scheduling},
    {POSIX_SPAWN_SETSID, say_session},
    {POSIX_SPAWN_SETPGROUP, say_group},
};

int attributes_say(struct child* child, const posix_spawnattr_t* attributes) {
    const short wanted = flags_of(attributes);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; ++i) {
        const int problem = (wanted & rows[i].flags) ? rows[i].say(child, attributes) : 0;
        if (problem) return problem;
    }
    return 0;
}

/* ----------------------------------------------------------------------------------------------------------
 * Signals */

enum { LAST_SIGNAL = 64 };

static void say_signals(struct child* child, const char* command, const sigset_t* set) {
    text_add(&child->said, command);
    for (int number = 1; number <= LAST_SIGNAL; ++number) {
        if (sigismember(set, number) == 1) child_say(child, " %d", number);
    }
    text_add(&child->said, "\n");
}

static int is_ignored(int number) {
    struct sigaction action;
    return sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

void signals_say(struct child* child, const posix_spawnattr_t* attributes, const sigset_t* mask) {
    sigset_t ignored;
    sigset_t reset;
    sigset_t blocked = *mask;
    sigemptyset(&ignored);
    sigemptyset(&reset);
    if (flags_of(attributes) & POSIX_SPAWN_SETSIGDEF)
        posix_spawnattr_getsigdefault(attributes, &reset);
    if (flags_of(attributes) & POSIX_SPAWN_SETSIGMASK)
        posix_spawnattr_getsigmask(attributes, &blocked);
    for (int number = 1; number <= LAST_SIGNAL; ++number) {
        if (is_ignored(number) && sigismember(&reset, number) != 1) sigaddset(&ignored, number);
    }
    say_signals(child, "sigignore", &ignored);
    say_signals(child, "sigmask", &blocked);
}

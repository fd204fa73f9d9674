#include "client/preload/perform.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "client/preload/open_mode.h"
#include "client/proc9.h"

/* Where the child stands among the actions. */
struct step {
    struct child* child;
    const struct actions* all;
    size_t done;
    const struct action* action; /* the next one */
    const posix_spawnattr_t* attributes;
};

static int has_flag(const struct step* step, short wanted) {
    short flags = 0;
    if (step->attributes) posix_spawnattr_getflags(step->attributes, &flags);
    return (flags & wanted) != 0;
}

/* ----------------------------------------------------------------------------------------------------------
 * Which descriptors the child has by now. It was given the caller's, but for those that exec would close: of these
 * it is given the ones that an action names. */

enum presence { CLOSED, WITHHELD, PRESENT };

static enum presence presence_of_callers(int fd) {
    const int flags = fcntl(fd, F_GETFD);
    return flags < 0 ? CLOSED : (flags & FD_CLOEXEC) ? WITHHELD : PRESENT;
}

static int opens(const struct action* action, int fd) {
    return (action->kind == ACTION_OPEN && action->fd == fd) ||
           (action->kind == ACTION_DUP2 && action->target == fd);
}

static int closes(const struct action* action, int fd) {
    return (action->kind == ACTION_CLOSE && action->fd == fd) ||
           (action->kind == ACTION_CLOSEFROM && action->fd <= fd);
}

static enum presence presence(const struct step* step, int fd) {
    for (size_t i = step->done; i-- > 0;) {
        if (opens(&step->all->list[i], fd)) return PRESENT;
        if (closes(&step->all->list[i], fd)) return CLOSED;
    }
    return presence_of_callers(fd);
}

/* 0, or EBADF. */
static int need(const struct step* step, int fd) {
    const enum presence now = presence(step, fd);
    if (now == WITHHELD) child_say(step->child, "fd %d self:%d\nfd %d cloexec on\n", fd, fd, fd);
    return now == CLOSED ? EBADF : 0;
}

/* A path that is the name of a descriptor. */
static void offer(const struct step* step, const char* path) {
    static const char* const places[] = {"/dev/fd/%d", "/proc/self/fd/%d",
                                         "/proc/thread-self/fd/%d"};
    int fd = -1;
    for (size_t i = 0; i < sizeof places / sizeof *places; ++i) {
        if (sscanf(path, places[i], &fd) == 1 && fd >= 0) need(step, fd);
    }
}

/* ----------------------------------------------------------------------------------------------------------
 * The actions. Each answers 0 or errno; what was said before is sent before anything is looked at or refused. */

static int place_of(char* path, size_t size, pid_t child, const char* name) {
    return snprintf(path, size, "/proc/%d/%s", child, name) < (int)size ? 0 : ENAMETOOLONG;
}

/* A combination of flags for which there is no word: the caller opens it, from the child's directory. */
static int open_for_child(const struct step* step) {
    const struct action* const action = step->action;
    char path[PATH_MAX];
    const int problem = child_send(step->child);
    if (problem) return problem;
    place_of(path, sizeof path, step->child->pid, "cwd");
    const int directory = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    const int opened =
        openat(directory, action->path, action->flags | O_CLOEXEC | O_NOCTTY, action->mode);
    int outcome = opened < 0 ? errno : 0;
    if (opened >= 0 && proc9_fd(step->child->context, action->fd, opened) < 0) outcome = errno;
    if (opened >= 0) close(opened);
    if (directory >= 0) close(directory);
    return outcome;
}

/* As open(2) in the leader of a session that has no terminal. */
static int take_terminal(const struct step* step) {
    char name[32];
    char path[64];
    struct stat about;
    const int problem = child_send(step->child);
    if (problem) return problem;
    snprintf(name, sizeof name, "fd/%d", step->action->fd);
    place_of(path, sizeof path, step->child->pid, name);
    if (stat(path, &about) == 0 && S_ISCHR(about.st_mode))
        child_try(step->child, "tty /proc/self/fd/%d\n", step->action->fd);
    return 0;
}

/* The C library opens at the lowest free number and, if that is another, lets dup2(2) drop the flag. */
static int keeps_close_on_exec(const struct step* step) {
    int lowest = 0;
    while (lowest < step->action->fd && presence(step, lowest) != CLOSED) ++lowest;
    return (step->action->flags & O_CLOEXEC) && lowest == step->action->fd;
}

static int perform_open(const struct step* step) {
    const struct action* const action = step->action;
    char word[OPEN_MODE_SIZE];
    int problem = 0;
    offer(step, action->path);
    if (presence(step, action->fd) == PRESENT) child_try(step->child, "fd %d close\n", action->fd);
    if (open_mode(action->flags, word)) {
        child_say(step->child, "fd %d open", action->fd);
        text_word(&step->child->said, action->path);
        child_say(step->child, " %s %o\n", word, action->mode & 07777);
    } else {
        problem = open_for_child(step);
    }
    if (!problem && !(action->flags & O_NOCTTY) && has_flag(step, POSIX_SPAWN_SETSID))
        problem = take_terminal(step);
    if (!problem && keeps_close_on_exec(step))
        child_say(step->child, "fd %d cloexec on\n", action->fd);
    return problem;
}

/* One that is not open is no error, but one that could not be. */
static int perform_close(const struct step* step) {
    const int fd = step->action->fd;
    struct rlimit limit;
    if (presence(step, fd) != CLOSED) {
        child_try(step->child, "fd %d close\n", fd);
        return 0;
    }
    const int is_out = getrlimit(RLIMIT_NOFILE, &limit) == 0 && (rlim_t)fd >= limit.rlim_cur;
    return is_out ? child_refuse(step->child, EBADF) : 0;
}

static int perform_dup2(const struct step* step) {
    const int from = step->action->fd;
    const int to = step->action->target;
    if (need(step, from) != 0) return child_refuse(step->child, EBADF);
    if (from == to) {
        child_say(step->child, "fd %d cloexec off\n", to);
    } else {
        child_say(step->child, "fd %d dup %d\n", to, from);
    }
    return 0;
}

static int perform_chdir(const struct step* step) {
    offer(step, step->action->path);
    child_say(step->child, "chdir");
    text_word(&step->child->said, step->action->path);
    child_say(step->child, "\n");
    return 0;
}

static int perform_fchdir(const struct step* step) {
    if (need(step, step->action->fd) != 0) return child_refuse(step->child, EBADF);
    child_say(step->child, "chdir /proc/self/fd/%d\n", step->action->fd);
    return 0;
}

static int perform_closefrom(const struct step* step) {
    const int problem = child_send(step->child);
    if (problem) return problem;
    const int folder = proc9_open(step->child->context, "fd", O_RDONLY | O_DIRECTORY);
    DIR* const entries = folder < 0 ? NULL : fdopendir(folder);
    if (!entries) return errno;
    for (const struct dirent* entry; (entry = readdir(entries));) {
        char* end = NULL;
        const long fd = strtol(entry->d_name, &end, 10);
        if (end != entry->d_name && fd >= step->action->fd)
            child_try(step->child, "fd %ld close\n", fd);
    }
    closedir(entries);
    return 0;
}

/* The number of its controlling terminal. */
static int has_terminal(pid_t pid) {
    char path[64];
    char text[512] = "";
    int terminal = 0;
    place_of(path, sizeof path, pid, "stat");
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return 0;
    const ssize_t length = read(file, text, sizeof text - 1);
    close(file);
    const char* const after_name = length > 0 ? strrchr(text, ')') : NULL;
    return after_name && sscanf(after_name, ") %*c %*d %*d %*d %d", &terminal) == 1 &&
           terminal != 0;
}

/* Its own group is in the foreground of a terminal that it took itself; what is left is whether it is that one. */
static int check_own_terminal(const struct step* step) {
    if (!has_terminal(step->child->pid)) return ENOTTY;
    return proc9_tell(step->child->context, "tty /proc/self/fd/%d foreground\n", step->action->fd) <
                   0
               ? ENOTTY
               : 0;
}

static pid_t group_of(const struct step* step) {
    pid_t group = 0;
    if (has_flag(step, POSIX_SPAWN_SETPGROUP)) posix_spawnattr_getpgroup(step->attributes, &group);
    return group != 0 ? group : getpgid(step->child->pid);
}

/* The caller is of the child's session: what it does to their terminal is what the child would do. */
static int perform_tcsetpgrp(const struct step* step) {
    if (need(step, step->action->fd) != 0) return child_refuse(step->child, EBADF);
    const int problem = child_send(step->child);
    if (problem) return problem;
    if (has_flag(step, POSIX_SPAWN_SETSID)) return check_own_terminal(step);
    const int terminal = pidfd_getfd(step->child->pidfd, step->action->fd, 0);
    if (terminal < 0) return errno;
    const int outcome = tcsetpgrp(terminal, group_of(step)) < 0 ? errno : 0;
    close(terminal);
    return outcome;
}

static int (*const performers[ACTION_KINDS])(const struct step*) = {
    [ACTION_OPEN] = perform_open,           [ACTION_CLOSE] = perform_close,
    [ACTION_DUP2] = perform_dup2,           [ACTION_CHDIR] = perform_chdir,
    [ACTION_FCHDIR] = perform_fchdir,       [ACTION_CLOSEFROM] = perform_closefrom,
    [ACTION_TCSETPGRP] = perform_tcsetpgrp,
};

int actions_perform(struct child* child, const struct actions* actions,
                    const posix_spawnattr_t* attributes) {
    for (size_t i = 0; actions && i < actions->count; ++i) {
        const struct step step = {child, actions, i, &actions->list[i], attributes};
        const int problem = performers[step.action->kind](&step);
        if (problem) return problem;
    }
    return 0;
}

void actions_offer(struct child* child, const struct actions* actions, const char* path) {
    const struct step end = {child, actions, actions ? actions->count : 0, NULL, NULL};
    offer(&end, path);
}

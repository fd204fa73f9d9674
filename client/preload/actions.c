/* posix_spawn_file_actions_*(3). */
#include "client/preload/actions.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Static_assert(sizeof(struct actions) <= sizeof(posix_spawn_file_actions_t), "it has to fit in");
_Static_assert(_Alignof(struct actions) <= _Alignof(posix_spawn_file_actions_t),
               "it has to fit in");

const struct actions* actions_of(const posix_spawn_file_actions_t* opaque) {
    return (const void*)opaque;
}

int posix_spawn_file_actions_init(posix_spawn_file_actions_t* opaque) {
    memset(opaque, 0, sizeof *opaque);
    return 0;
}

int posix_spawn_file_actions_destroy(posix_spawn_file_actions_t* opaque) {
    struct actions* const actions = (void*)opaque;
    for (size_t i = 0; i < actions->count; ++i) free(actions->list[i].path);
    free(actions->list);
    return posix_spawn_file_actions_init(opaque);
}

static int make_room(struct actions* actions) {
    if (actions->count < actions->room) return 0;
    const size_t room = actions->room + 8;
    struct action* const list = realloc(actions->list, room * sizeof *list);
    if (!list) return ENOMEM;
    actions->list = list;
    actions->room = room;
    return 0;
}

static int add(posix_spawn_file_actions_t* opaque, struct action action, const char* path) {
    struct actions* const actions = (void*)opaque;
    if (make_room(actions) != 0) return ENOMEM;
    if (path && !(action.path = strdup(path))) return ENOMEM;
    actions->list[actions->count++] = action;
    return 0;
}

static int is_possible(int fd) { return fd >= 0 && fd < sysconf(_SC_OPEN_MAX); }

int posix_spawn_file_actions_addopen(posix_spawn_file_actions_t* restrict opaque, int fd,
                                     const char* restrict path, int flags, mode_t mode) {
    if (!is_possible(fd)) return EBADF;
    return add(opaque, (struct action){.kind = ACTION_OPEN, .fd = fd, .flags = flags, .mode = mode},
               path);
}

int posix_spawn_file_actions_addclose(posix_spawn_file_actions_t* opaque, int fd) {
    if (!is_possible(fd)) return EBADF;
    return add(opaque, (struct action){.kind = ACTION_CLOSE, .fd = fd}, NULL);
}

int posix_spawn_file_actions_adddup2(posix_spawn_file_actions_t* opaque, int fd, int target) {
    if (!is_possible(fd) || !is_possible(target)) return EBADF;
    return add(opaque, (struct action){.kind = ACTION_DUP2, .fd = fd, .target = target}, NULL);
}

int posix_spawn_file_actions_addchdir_np(posix_spawn_file_actions_t* restrict opaque,
                                         const char* restrict path) {
    return add(opaque, (struct action){.kind = ACTION_CHDIR, .fd = -1}, path);
}

int posix_spawn_file_actions_addfchdir_np(posix_spawn_file_actions_t* opaque, int fd) {
    return add(opaque, (struct action){.kind = ACTION_FCHDIR, .fd = fd}, NULL);
}

int posix_spawn_file_actions_addclosefrom_np(posix_spawn_file_actions_t* opaque, int from) {
    if (!is_possible(from)) return EBADF;
    return add(opaque, (struct action){.kind = ACTION_CLOSEFROM, .fd = from}, NULL);
}

int posix_spawn_file_actions_addtcsetpgrp_np(posix_spawn_file_actions_t* opaque, int fd) {
    if (!is_possible(fd)) return EBADF;
    return add(opaque, (struct action){.kind = ACTION_TCSETPGRP, .fd = fd}, NULL);
}

/* What POSIX.1-2024 calls them, for a C library that has these names as well. */
int posix_spawn_file_actions_addchdir(posix_spawn_file_actions_t* restrict, const char* restrict)
    __attribute__((alias("posix_spawn_file_actions_addchdir_np")));
int posix_spawn_file_actions_addfchdir(posix_spawn_file_actions_t*, int)
    __attribute__((alias("posix_spawn_file_actions_addfchdir_np")));

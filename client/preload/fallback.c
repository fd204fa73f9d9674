#include "client/preload/fallback.h"

#include <errno.h>

#include "client/preload/libc.h"

typedef posix_spawn_file_actions_t translation;

static int open_there(translation* to, const struct action* from) {
    return LIBC(posix_spawn_file_actions_addopen)(to, from->fd, from->path, from->flags,
                                                  from->mode);
}
static int close_there(translation* to, const struct action* from) {
    return LIBC(posix_spawn_file_actions_addclose)(to, from->fd);
}
static int dup2_there(translation* to, const struct action* from) {
    return LIBC(posix_spawn_file_actions_adddup2)(to, from->fd, from->target);
}
static int chdir_there(translation* to, const struct action* from) {
    return LIBC(posix_spawn_file_actions_addchdir_np)(to, from->path);
}
static int fchdir_there(translation* to, const struct action* from) {
    return LIBC(posix_spawn_file_actions_addfchdir_np)(to, from->fd);
}
static int closefrom_there(translation* to, const struct action* from) {
    return LIBC(posix_spawn_file_actions_addclosefrom_np)(to, from->fd);
}
static int tcsetpgrp_there(translation* to, const struct action* from) {
    return LIBC(posix_spawn_file_actions_addtcsetpgrp_np)(to, from->fd);
}

static int (*const translators[ACTION_KINDS])(translation*, const struct action*) = {
    [ACTION_OPEN] = open_there,           [ACTION_CLOSE] = close_there,
    [ACTION_DUP2] = dup2_there,           [ACTION_CHDIR] = chdir_there,
    [ACTION_FCHDIR] = fchdir_there,       [ACTION_CLOSEFROM] = closefrom_there,
    [ACTION_TCSETPGRP] = tcsetpgrp_there,
};

static int translate(translation* to, const struct actions* from) {
    for (size_t i = 0; from && i < from->count; ++i) {
        const int problem = translators[from->list[i].kind](to, &from->list[i]);
        if (problem) return problem;
    }
    return 0;
}

int spawn_by_libc(const char* name, int* result, const char* file, const struct actions* actions,
                  const posix_spawnattr_t* attributes, char* const argv[], char* const envp[]) {
    translation theirs;
    const __typeof__(&posix_spawn) function = (__typeof__(&posix_spawn))dlsym(RTLD_NEXT, name);
    int problem = LIBC(posix_spawn_file_actions_init)(&theirs);
    if (problem) return problem;
    problem = translate(&theirs, actions);
    if (!problem) problem = function(result, file, &theirs, attributes, argv, envp);
    LIBC(posix_spawn_file_actions_destroy)(&theirs);
    return problem;
}

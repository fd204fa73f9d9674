/* posix_spawn_file_actions_t with contents of our own: nothing here depends on what the C library keeps in it. */
#pragma once

#include <spawn.h>
#include <stddef.h>

#include "client/preload/child.h"

enum action_kind {
    ACTION_OPEN,
    ACTION_CLOSE,
    ACTION_DUP2,
    ACTION_CHDIR,
    ACTION_FCHDIR,
    ACTION_CLOSEFROM,
    ACTION_TCSETPGRP,
    ACTION_KINDS,
};

struct action {
    enum action_kind kind;
    int fd;     /* the first of those to close; the one to duplicate */
    int target; /* its duplicate */
    int flags;
    mode_t mode;
    char* path;
};

struct actions {
    struct action* list;
    size_t count;
    size_t room;
};

/* NULL: none. */
const struct actions* actions_of(const posix_spawn_file_actions_t* opaque);

/* posix_spawn(3) of the C library, where proc9 makes no processes and the user wants that. */
#pragma once

#include <spawn.h>

#include "client/preload/actions.h"

/* `name` is the function's; all of them answer through an int. */
int spawn_by_libc(const char* name, int* result, const char* file, const struct actions* actions,
                  const posix_spawnattr_t* attributes, char* const argv[], char* const envp[]);

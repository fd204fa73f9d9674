/* What posix_spawnattr_t says, and what a child has of its parent without being told. */
#pragma once

#include <signal.h>
#include <spawn.h>

#include "client/preload/child.h"

void inherit_all(struct text* text);

/* All but the signals. 0, or errno: then what was said before has been done. NULL: nothing is wanted. */
int attributes_say(struct child* child, const posix_spawnattr_t* attributes);

/* Ignored and blocked signals; `mask` is the caller's. */
void signals_say(struct child* child, const posix_spawnattr_t* attributes, const sigset_t* mask);

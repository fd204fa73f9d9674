/* File actions, done by a child in the making. */
#pragma once

#include "client/preload/actions.h"
#include "client/preload/child.h"

/* All of them in order. 0, or errno: those before have been done. */
int actions_perform(struct child* child, const struct actions* actions,
                    const posix_spawnattr_t* attributes);

/* What the program's path means if it is one of the caller's descriptors. */
void actions_offer(struct child* child, const struct actions* actions, const char* path);

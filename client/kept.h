/* A descriptor that the library keeps open in somebody else's program: out of the way, and known again. */
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

struct kept {
    int fd; /* -1: none */
    pid_t owner;
    struct statx what; /* who closes all descriptors closes it, and the number is another's */
};

#define KEPT_NONE {.fd = -1}

/* Moves it to a number of 256 or more if there is one, close-on-exec. Takes it over: closes it where that fails. */
struct kept kept_open(int fd);
/* Whether the number is still what it was, and this no child of fork(2). The daemon is not asked. */
int kept_is_still(const struct kept* kept);
/* If it is what it was, in a child of fork(2), too. */
void kept_close(struct kept* kept);

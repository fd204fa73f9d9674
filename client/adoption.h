/* How a program hands a child of its own to the daemon. The child waits at one end of a link for a few
 * pages of code and calls them: there it is an embryo, until that call returns. See "Adoption" in
 * docs/reference.md. */
#pragma once

#include <sys/types.h>

struct adoption {
    int ctl;    /* of the mount; becomes the child's */
    int link;   /* the daemon's end, which the parent has */
    int parked; /* the child's end */
};

/* Both answer 0, or -1 and errno; nothing is open then. */
int adoption_open(struct adoption* adoption);
void adoption_close(struct adoption* adoption);

/* In the child: returns when it is resumed. It ends if it is not adopted. All signals must be blocked. */
void adoption_park(struct adoption* adoption);

/* In a child that shall own nothing: never returns. */
void adoption_park_blank(struct adoption* adoption) __attribute__((noreturn));

/* In the parent: the child is adopted and told the commands. -1 and errno: it waits still, or has ended. */
int adoption_tell(struct adoption* adoption, const char* commands);

/* The same, and it goes on, unless the commands have started something else in it with exec or entry. */
int adoption_resume(struct adoption* adoption, const char* commands);

/* A child that was not adopted, or not told all of it: killed and reaped. By its pidfd, if there is one (-1), because
 * somebody else may have reaped it and its number be another's. Keeps errno. */
void adoption_end_child(pid_t child, int pidfd);

/* A child in the making: its commands are said one by one, and sent together.
 *
 *     struct child child;
 *     if (child_begin(&child) != 0) ...
 *     child_say(&child, "fd %d close\n", 3);
 *     int problem = child_send(&child);     // 0, or the errno of the line that was refused
 *     problem ? child_end(&child) : child_release(&child);
 */
#pragma once

#include <sys/types.h>

#include "client/text.h"

struct child {
    pid_t zygote; /* whose copy it is to be */
    pid_t pid;    /* 0: it was not made yet */
    int context;
    int pidfd;
    struct text said; /* and not sent yet */
    char refused[8];  /* how the last refused line began */
};

/* A blank one is the first thing that is said. 0 or errno. */
int child_begin(struct child* child);

__attribute__((format(printf, 2, 3))) void child_say(struct child* child, const char* format, ...);
/* One line, and all goes on if it is refused. */
__attribute__((format(printf, 2, 3))) void child_try(struct child* child, const char* format, ...);

int child_send(struct child* child);
/* `problem` comes after what was said before: sends that, and answers its own errno if it was refused. */
int child_refuse(struct child* child, int problem);

/* Whether that is what the last refused line said. */
int child_was_refused(const struct child* child, const char* command);

/* It could not be made, and the next one will not fail for the same reason. */
int child_was_not_begun(const struct child* child, int problem);

/* Told to exec, it was killed instead: the daemon cannot tell, as either closes its link. It is reaped then. */
int child_fell(const struct child* child);

/* Killed and reaped. */
void child_end(struct child* child);
/* It lives on by itself. */
void child_release(struct child* child);

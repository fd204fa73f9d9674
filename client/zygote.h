/* A blank child of the caller, adopted, of which all its other embryos are forks: so the caller is their
 * parent, and what they cost does not depend on its size. */
#pragma once

#include <sys/types.h>

/* Its id; made when first needed, and again after fork(2). -1 and errno. */
pid_t zygote_of_caller(void);

/* Whether an efork from it was refused with that errno because it is not there any more. Then the next call of
 * zygote_of_caller makes another one. */
int zygote_has_gone(pid_t zygote, int problem);

/* A line for its embryos: nothing is to reach the zygote itself, such as the keys of a terminal. */
#define zygote_unblock "sigmask\n"

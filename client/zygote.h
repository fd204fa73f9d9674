/* A blank child of the caller, adopted, of which all its other embryos are forks: so the caller is their
 * parent, and what they cost does not depend on its size. */
#pragma once

#include <sys/types.h>

/* Its id; made when first needed, and again after fork(2). -1 and errno. */
pid_t zygote_of_caller(void);

/* It is not there any more: the next call makes another one. */
void zygote_has_gone(pid_t zygote);

/* A line for its embryos: nothing is to reach the zygote itself, such as the keys of a terminal. */
#define zygote_unblock "sigmask\n"

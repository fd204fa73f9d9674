/* Open ctl files of the root. To open one costs as much as to use it, so one that is done with is kept for
 * whoever comes next; close-on-exec, and out of the way of the low numbers. */
#pragma once

/* A descriptor of the caller's, to be closed or given back. It may have been opened when the caller had other ids:
 * then what is written to it is EACCES, and another one is to be taken. -1 and errno. */
int spare_take(void);

/* The last word was answered, or nobody will read it. */
void spare_give_back(int ctl);

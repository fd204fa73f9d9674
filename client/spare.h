/* Open ctl files of the root. To open one costs as much as to use it, so one that is done with is kept for
 * whoever comes next; close-on-exec, and out of the way of the low numbers. */
#pragma once

/* A descriptor of the caller's, to be closed or given back. `is_used`: whether it was kept from an earlier use; what is
 * written to it may then be refused because of whose it was. -1 and errno. */
int spare_take(int* is_used);

/* The last word was answered, or nobody will read it. */
void spare_give_back(int ctl);

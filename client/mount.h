/* Where proc9 is mounted. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The path of a file of the mount, as by snprintf(3): its length. */
int mount_path(char* path, size_t size, const char* name);

/* From now on it is the same, whatever becomes of the environment. */
void mount_remember(void);

/* open(2) of a file of the mount; `mode` is for O_CREAT. */
int mount_open(const char* name, int flags, mode_t mode);

/* link(2) of two of its files. */
int mount_link(const char* from, const char* to);

/* write(2) to a ctl file until all was taken or a line is refused. Answers how much was taken, with errno if that is
 * not all: what was refused begins there. One that is stopped is waited for, ten seconds at the most: then that is
 * EBUSY. */
size_t mount_write_lines(int ctl, const char* text, size_t length);
/* The same: 0, or -1 and errno. */
int mount_write(int ctl, const char* text, size_t length);

#ifdef __cplusplus
}
#endif

/* libproc9: processes built with files, for programs.
 *
 *     pid_t child = proc9_fork_with("nice 5\nlimit NOFILE 64\n");
 *     if (child == 0) work();             // as after fork(2), but niced and limited before it went on
 *     waitpid(child, &status, 0);         // it is an ordinary child of the caller
 *
 * All goes through the files of the mount: $PROC9 if that is set, else /proc9 for root, else
 * $XDG_RUNTIME_DIR/proc9 or ~/proc9. Errors are errno, as of a system call; without a mount that is
 * ENOENT, and when its daemon has died ENOTCONN. The text of a refusal is in the mount's file `error`.
 * Every function may be called from any thread. None prints.
 */
#pragma once

#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* fork(2) by way of /proc9: the child is an embryo, whose memory, descriptors and registers are the
 * caller's, until it goes on; its id there is its pid. Handlers of pthread_atfork(3) run as with
 * fork(3). Errors: those of fork(3), open(2) and write(2) of the mount's ctl. */
pid_t proc9_fork(void);

/* The same; before the child goes on it is told `commands`, lines for the ctl file of an embryo. `exec`
 * or `entry`, as the last of them, start it instead. If one is refused there is no child. One that was
 * told to `stop` is waited for, ten seconds at the most, until somebody continues it. */
pid_t proc9_fork_with(const char* commands);

/* A blank process: no memory, no descriptors, and it does not run. Answers its context, a close-on-exec
 * descriptor of its ctl file. It is a child of the caller: when it was started by proc9_exec it is as
 * any other, for wait(2) and SIGCHLD; before, and when started by proc9_eexec, wait(2) sees it with
 * __WALL only. It ends with the thread that called this library first, if that ends before it is
 * started. Closing the context leaves it where it is; its directory is named by its pid. */
int proc9_efork(void);

/* Its pid; -1 and EBADF, ... */
pid_t proc9_pid(int context);

/* Lines for its ctl file, printed as by printf(3). 0; or -1 and the errno of the line that was refused:
 * those before it have been done. */
__attribute__((format(printf, 2, 3))) int proc9_tell(int context, const char* format, ...);

/* A file of its directory, such as "mem/600000" or "error": open(2), close-on-exec. */
int proc9_open(int context, const char* name, int flags, ...);

/* Its descriptor `number` becomes the caller's `mine`, the same open file. */
int proc9_fd(int context, int number, int mine);

/* Starts a program. A path without / is searched in its PATH. envp NULL: as it was told before. Returns
 * 0 when the program runs, or -1 with execve's errno; then all is as it was. */
int proc9_exec(int context, const char* path, char* const argv[], char* const envp[]);

/* Starts what was built, at the address that its registers say. */
int proc9_eexec(int context);

#ifdef __cplusplus
}
#endif

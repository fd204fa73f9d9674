/* libproc9: processes built with files, for programs.
 *
 *     pid_t child = proc9_fork_with("nice 5\nlimit NOFILE 64\n");
 *     if (child == 0) work();             // as after fork(2), but niced and limited before it went on
 *     waitpid(child, &status, 0);         // it is an ordinary child of the caller
 *
 * All goes through the files of the mount: $PROC9 if that is set, else /proc9 for root, else
 * $XDG_RUNTIME_DIR/proc9 or ~/proc9. Errors are errno, as of a system call; without a mount that is
 * ENOENT, and when its daemon has died ENOTCONN. The text of a refusal is in the mount's file `error`.
 * Every function may be called from any thread. None prints, or keeps anything open.
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

/* The same; before the child goes on it is told `commands`, lines for the ctl file of an embryo. If one
 * is refused there is no child. */
pid_t proc9_fork_with(const char* commands);

#ifdef __cplusplus
}
#endif

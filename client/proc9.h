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

#include <signal.h>
#include <stddef.h>
#include <stdint.h>
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
 * started and may still signal it. Closing the context leaves it where it is; its directory is named by its pid. */
int proc9_efork(void);

/* A second embryo, equal to this one: memory copy-on-write, the same open files, all settings. Answers its
 * context. It is a child of the caller, too. */
int proc9_instance(int context);

/* Its pid, and a pidfd of it, close-on-exec. -1 and EBADF, ESRCH, ... */
pid_t proc9_pid(int context);
int proc9_pidfd(int context);

/* Lines for its ctl file, printed as by printf(3). 0; or -1 and the errno of the line that was refused:
 * those before it have been done. */
__attribute__((format(printf, 2, 3))) int proc9_tell(int context, const char* format, ...);

/* One command, such as {"limit", "NOFILE", "64", NULL}, whose words may hold any bytes. Every setting
 * is such a command: see docs/reference.md, or the mount's file `help`. */
int proc9_set(int context, const char* const words[]);

/* A file of its directory, such as "mem/600000" or "error": open(2), close-on-exec. */
int proc9_open(int context, const char* name, int flags, ...);

/* ---- Memory. Addresses and lengths in bytes, of whole pages; `protection` as of mmap(2). ---- */

enum proc9_map_flags { PROC9_PRIVATE = 0, PROC9_SHARED = 1 };
/* New memory of zeroes. EEXIST if something is there. */
int proc9_map(int context, uint64_t address, uint64_t length, int protection, int flags);
/* A file, opened in the child by its path. */
int proc9_map_file(int context, uint64_t address, uint64_t length, int protection, int flags,
                   const char* path, uint64_t offset);
int proc9_unmap(int context, uint64_t address, uint64_t length);
int proc9_protect(int context, uint64_t address, uint64_t length, int protection);
/* pread(2) and pwrite(2) of one region: as many bytes as it has from there. EFAULT where there is none;
 * EACCES where it is protected from that and the caller is not root. */
ssize_t proc9_read(int context, uint64_t address, void* bytes, size_t length);
ssize_t proc9_write(int context, uint64_t address, const void* bytes, size_t length);
/* The region that begins at `address`, mapped shared into the caller: both see each other's stores, after
 * the start too if the region is shared. Ends with munmap(2). MAP_FAILED and errno. */
void* proc9_mmap(int context, uint64_t address, size_t length, int protection);
/* The region that begins at `address` appears in another embryo: the same memory. */
int proc9_share(int context, uint64_t address, int other, uint64_t other_address);
/* What process `pid` has mapped in that range (length 0: all it has) is copied to `address`, lazily where
 * that can be. EPERM or EACCES where the caller may not trace it. */
int proc9_copy(int context, uint64_t address, pid_t pid, uint64_t from, uint64_t length);

/* ---- Descriptors, environment, settings ---- */

/* Its descriptor `number` becomes the caller's `mine`, the same open file. */
int proc9_fd(int context, int number, int mine);
/* It opens a file itself; `mode` as of fopen(3). */
int proc9_fd_open(int context, int number, const char* path, const char* mode);
int proc9_fd_close(int context, int number);

/* value NULL: the variable goes. */
int proc9_env(int context, const char* name, const char* value);

/* All that fork(2) would give it but the memory: descriptors that are not close-on-exec, the variables of
 * environ as it is now, directory, umask, limits, signals that are blocked or ignored, scheduling. */
int proc9_inherit(int context);

/* ---- Start, and end ---- */

/* Starts a program. A path without / is searched in its PATH. envp NULL: as it was told before. Returns
 * 0 when the program runs, or -1 with execve's errno; then it can be told more, and tried again. */
int proc9_exec(int context, const char* path, char* const argv[], char* const envp[]);

/* All of it in one step, and therefore cheaper: proc9_efork, `commands` (lines for its ctl file, or NULL),
 * proc9_exec (envp NULL: what the commands make it). Answers the pid of the child; or -1 and the errno of what was refused, and then there is none.
 *
 * For the next one it keeps a close-on-exec descriptor, of 256 or more; who closes it, while no other thread is in here, does no harm.
 *
 *     pid_t child = proc9_spawn("umask 22\nlimit NOFILE 64\ninherit fd\n", "ls", argv, environ);
 */
pid_t proc9_spawn(const char* commands, const char* path, char* const argv[], char* const envp[]);

/* Starts what was built, at the address that its registers say. */
int proc9_eexec(int context);

/* waitid(2) for it, started by whichever of them: also for one that wait(2) does not see. 0, or -1 and
 * ECHILD, EINTR. The context stays open. */
int proc9_wait(int context, siginfo_t* info, int options);

/* A signal, whether it was started or not; SIGKILL ends an embryo. */
int proc9_kill(int context, int signal);

/* Why the last command was refused that this process gave it, or the mount (context -1): a line of text,
 * cut to size. Its length, or -1. */
ssize_t proc9_error(int context, char* text, size_t size);

#ifdef __cplusplus
}
#endif

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/adoption.h"
#include "client/mount.h"
#include "client/proc9.h"
#include "client/spare.h"
#include "client/text.h"
#include "client/zygote.h"

/* Told to exec, it was killed instead, as when the thread ends that made the zygote: the daemon cannot tell, as
 * either closes its link. exec would have made it one that is waited for without __WCLONE. */
static int has_fallen(pid_t child) {
    siginfo_t info;
    return waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT | (int)__WCLONE) == 0;
}

/* Of whom the first line made; -1: it made none, or it was refused later, or fell (ESRCH), and has gone. */
static pid_t outcome(int ctl, const struct text* text, size_t taken) {
    const int problem = taken == text->length ? ESRCH : errno;
    const pid_t child = taken == 0 ? -1 : proc9_pid(ctl);
    if (child < 0 || (taken == text->length && !has_fallen(child))) return child;
    adoption_end_child(child, -1);
    errno = problem;
    return -1;
}

/* `is_final`: what was refused is no fault of who was asked to make it, or of the open file. */
static pid_t try_from(pid_t zygote, const struct text* rest, int* is_final) {
    struct text text = {0};
    const int ctl = spare_take();
    *is_final = ctl < 0;
    if (ctl < 0) return -1;
    text_print(&text, "efork from=%d\n", zygote);
    text_bytes(&text, rest->bytes, rest->length);
    const size_t taken = text.problem ? 0 : mount_write_lines(ctl, text.bytes, text.length);
    if (text.problem) errno = text.problem;
    const pid_t child = outcome(ctl, &text, taken);
    const int problem = errno;
    *is_final = taken > 0 && !(child < 0 && errno == ESRCH); /* it fell, or died before */
    free(text.bytes);
    if (taken > 0) spare_give_back(ctl);
    if (taken == 0) close(ctl);
    if (taken == 0) zygote_has_gone(zygote, problem);
    errno = problem;
    return child;
}

/* The thread that made the zygote may have ended, the daemon been started anew, the caller changed its ids. */
static pid_t spawn(const struct text* rest) {
    pid_t child = -1;
    int is_final = 0;
    for (int tries = 0; tries < 4 && !is_final; ++tries) {
        const pid_t zygote = zygote_of_caller();
        if (zygote < 0) return -1;
        child = try_from(zygote, rest, &is_final);
    }
    return child;
}

pid_t proc9_spawn(const char* commands, const char* path, char* const argv[], char* const envp[]) {
    struct text rest = {0};
    if (envp) text_environment(&rest, envp);
    text_line(&rest, "args", (const char* const*)argv);
    text_add(&rest, zygote_unblock);
    if (commands) text_add(&rest, commands);
    if (rest.length > 0 && !rest.problem && rest.bytes[rest.length - 1] != '\n')
        text_add(&rest, "\n");
    text_line(&rest, "exec", (const char* const[]){path, NULL});
    const pid_t child = rest.problem ? -1 : spawn(&rest);
    const int problem = rest.problem ? rest.problem : errno;
    free(rest.bytes);
    if (child < 0) errno = problem;
    return child;
}

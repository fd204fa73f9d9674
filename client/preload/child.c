#include "client/preload/child.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/single_threaded.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/adoption.h"
#include "client/mount.h"
#include "client/proc9.h"
#include "client/spare.h"
#include "client/zygote.h"

static const char mark[] = "# may be refused\n"; /* to the daemon a comment, before such a line */

int child_begin(struct child* child) {
    *child = (struct child){.zygote = zygote_of_caller(), .context = -1, .pidfd = -1};
    if (child->zygote < 0) return errno;
    child->context = spare_take();
    if (child->context < 0) return errno;
    child_say(child, "efork from=%d\n", child->zygote);
    return 0;
}

/* The line that makes it is among the first that are sent. If the last one was, too, it may have run and been reaped by
 * now, by whoever is quick or because nobody wants to know: so there may be no pidfd of it, and that is no error. */
static int meet(struct child* child) {
    child->pid = proc9_pid(child->context);
    if (child->pid > 0) child->pidfd = pidfd_open(child->pid, 0);
    return child->pid > 0 ? 0 : errno;
}

void child_say(struct child* child, const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    text_vprint(&child->said, format, arguments);
    va_end(arguments);
}

void child_try(struct child* child, const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    text_add(&child->said, mark);
    text_vprint(&child->said, format, arguments);
    va_end(arguments);
}

static int is_marked(const char* text, const char* line) {
    const size_t length = strlen(mark);
    return (size_t)(line - text) >= length && memcmp(line - length, mark, length) == 0;
}

struct sending {
    int context;
    const struct text* text;
    const char* refused; /* where that line stands */
    int problem;         /* its errno */
};

static int send_lines(void* place) {
    struct sending* const sending = place;
    const char* const start = sending->text->bytes;
    const char* const end = start + sending->text->length;
    const char* at = start;
    while (at < end) {
        at += mount_write_lines(sending->context, at, (size_t)(end - at));
        if (at == end) break;
        if (!is_marked(start, at)) {
            sending->refused = at;
            sending->problem = errno;
            break;
        }
        const char* const newline = memchr(at, '\n', (size_t)(end - at));
        at = newline ? newline + 1 : end;
    }
    return 0;
}

/* While other threads open and close files, the daemon cannot tell what the caller has: a copy of its descriptors
 * has to stand still, in a process that has nothing else of its own and writes in the caller's place. */
static int send_from_copy(struct sending* sending) {
    _Alignas(64) char stack[32 << 10];
    const pid_t copy = clone(send_lines, stack + sizeof stack, CLONE_VM | CLONE_VFORK, sending);
    if (copy < 0) return errno;
    while (waitpid(copy, NULL, __WALL) < 0 && errno == EINTR) continue;
    return 0;
}

int child_send(struct child* child) {
    struct sending sending = {child->context, &child->said, NULL, 0};
    int problem = child->said.problem;
    if (!problem && __libc_single_threaded) send_lines(&sending);
    if (!problem && !__libc_single_threaded) problem = send_from_copy(&sending);
    const int was_made = !problem && sending.refused != child->said.bytes;
    if (was_made && child->pid == 0) problem = meet(child);
    if (sending.refused) problem = sending.problem;
    snprintf(child->refused, sizeof child->refused, "%.7s", sending.refused ? sending.refused : "");
    free(child->said.bytes);
    child->said = (struct text){0};
    return problem;
}

int child_was_refused(const struct child* child, const char* command) {
    return strncmp(child->refused, command, strlen(command)) == 0;
}

int child_refuse(struct child* child, int problem) {
    const int earlier = child_send(child);
    return earlier ? earlier : problem;
}

/* Before its link closes exec has made it one that is waited for without __WCLONE. */
int child_fell(const struct child* child) {
    siginfo_t about = {.si_pid = 0};
    const int options = WEXITED | WNOHANG | (int)__WCLONE;
    return (child->pidfd < 0 ? waitid(P_PID, (id_t)child->pid, &about, options)
                             : waitid(P_PIDFD, (id_t)child->pidfd, &about, options)) == 0;
}

int child_was_not_begun(const struct child* child, int problem) {
    if (!child_was_refused(child, "efork ")) return 0;
    return problem == EACCES || /* who opened the ctl was another then */
           zygote_has_gone(child->zygote, problem);
}

void child_end(struct child* child) {
    if (child->pid > 0) proc9_tell(child->context, "kill\n");
    if (child->pid > 0) adoption_end_child(child->pid, child->pidfd);
    child_release(child);
}

/* An open file that could not even be told to make a child is of no use any more. */
void child_release(struct child* child) {
    free(child->said.bytes);
    if (child->pidfd >= 0) close(child->pidfd);
    if (child->context >= 0 && child->pid > 0) spare_give_back(child->context);
    if (child->context >= 0 && child->pid <= 0) close(child->context);
}

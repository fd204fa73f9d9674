#include "client/preload/child.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "client/adoption.h"
#include "client/mount.h"
#include "client/proc9.h"

static const char mark[] = "# may be refused\n"; /* to the daemon a comment, before such a line */

int child_make(struct child* child) {
    *child = (struct child){.context = proc9_efork(), .pidfd = -1};
    if (child->context < 0) return errno;
    child->pid = proc9_pid(child->context);
    if (child->pid > 0) child->pidfd = pidfd_open(child->pid, 0);
    if (child->pidfd >= 0) return 0;
    const int problem = errno;
    child_end(child);
    return problem;
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

/* Where a refused line stands; NULL: there was none. */
static const char* send_lines(int context, const struct text* text) {
    const char* const end = text->bytes + text->length;
    const char* at = text->bytes;
    while (at < end) {
        at += mount_write_lines(context, at, (size_t)(end - at));
        if (at == end) break;
        if (!is_marked(text->bytes, at)) return at;
        const char* const newline = memchr(at, '\n', (size_t)(end - at));
        at = newline ? newline + 1 : end;
    }
    return NULL;
}

int child_send(struct child* child) {
    int problem = child->said.problem;
    const char* const refused = problem ? NULL : send_lines(child->context, &child->said);
    if (refused) problem = errno;
    child->exec_was_refused = refused && strncmp(refused, "exec ", strlen("exec ")) == 0;
    free(child->said.bytes);
    child->said = (struct text){0};
    return problem;
}

int child_refuse(struct child* child, int problem) {
    const int earlier = child_send(child);
    return earlier ? earlier : problem;
}

void child_end(struct child* child) {
    proc9_tell(child->context, "kill\n");
    if (child->pidfd >= 0) adoption_end_child(child->pidfd);
    child_release(child);
}

void child_release(struct child* child) {
    free(child->said.bytes);
    if (child->pidfd >= 0) close(child->pidfd);
    close(child->context);
}

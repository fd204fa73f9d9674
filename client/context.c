#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/mount.h"
#include "client/proc9.h"
#include "client/text.h"
#include "client/zygote.h"

static int efork_from(pid_t pid, const char* then) {
    char line[64];
    const int context = mount_open("ctl", O_RDWR | O_CLOEXEC, 0);
    if (context < 0) return -1;
    const int length = snprintf(line, sizeof line, "efork from=%d\n%s", pid, then);
    if (mount_write(context, line, (size_t)length) == 0) return context;
    const int problem = errno;
    close(context);
    errno = problem;
    return -1;
}

/* The thread that made the zygote may have ended, or the daemon been started anew. */
int proc9_efork(void) {
    pid_t zygote = zygote_of_caller();
    if (zygote < 0) return -1;
    const int context = efork_from(zygote, zygote_unblock);
    if (context >= 0 || !zygote_has_gone(zygote, errno)) return context;
    zygote = zygote_of_caller();
    return zygote < 0 ? -1 : efork_from(zygote, zygote_unblock);
}

pid_t proc9_pid(int context) {
    char text[32];
    const ssize_t length = pread(context, text, sizeof text - 1, 0);
    if (length < 0) return -1;
    text[length] = '\0';
    return (pid_t)strtol(text, NULL, 10);
}

int proc9_tell(int context, const char* format, ...) {
    struct text text = {0};
    va_list arguments;
    va_start(arguments, format);
    text_vprint(&text, format, arguments);
    va_end(arguments);
    return text_send(&text, context);
}

int proc9_open(int context, const char* name, int flags, ...) {
    char path[PATH_MAX];
    mode_t mode = 0;
    if (flags & O_CREAT) {
        va_list arguments;
        va_start(arguments, flags);
        mode = va_arg(arguments, mode_t);
        va_end(arguments);
    }
    const pid_t pid = proc9_pid(context);
    if (pid < 0) return -1;
    if (snprintf(path, sizeof path, "%d/%s", pid, name) >= (int)sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    return mount_open(path, flags | O_CLOEXEC, mode);
}

int proc9_set(int context, const char* const words[]) {
    struct text text = {0};
    text_line(&text, words[0], words + 1);
    return text_send(&text, context);
}

int proc9_pidfd(int context) {
    const pid_t pid = proc9_pid(context);
    return pid < 0 ? -1 : pidfd_open(pid, 0);
}

int proc9_wait(int context, siginfo_t* info, int options) {
    const pid_t pid = proc9_pid(context);
    return pid < 0 ? -1 : waitid(P_PID, (id_t)pid, info, options | __WALL);
}

int proc9_kill(int context, int signal) { return proc9_tell(context, "kill %d\n", signal); }

ssize_t proc9_error(int context, char* text, size_t size) {
    if (size == 0) return 0;
    const int file = context < 0 ? mount_open("error", O_RDONLY | O_CLOEXEC, 0)
                                 : proc9_open(context, "error", O_RDONLY);
    if (file < 0) return -1;
    const ssize_t length = read(file, text, size - 1);
    close(file);
    if (length < 0) return -1;
    text[length] = '\0';
    char* const end = strchr(text, '\n');
    if (end) *end = '\0';
    return (ssize_t)strlen(text);
}

int proc9_instance(int context) {
    const pid_t pid = proc9_pid(context);
    return pid < 0 ? -1 : efork_from(pid, "");
}

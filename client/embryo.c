#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "client/mount.h"
#include "client/proc9.h"
#include "client/text.h"
#include "client/zygote.h"

static int efork_from(pid_t zygote) {
    char line[64];
    const int context = mount_open("ctl", O_RDWR | O_CLOEXEC, 0);
    if (context < 0) return -1;
    const int length = snprintf(line, sizeof line, "efork from=%d\n", zygote);
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
    const int context = efork_from(zygote);
    if (context >= 0 || (errno != ENOENT && errno != ESRCH && errno != EPERM)) return context;
    zygote_has_gone(zygote);
    zygote = zygote_of_caller();
    return zygote < 0 ? -1 : efork_from(zygote);
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
    text_print(&text, format, arguments);
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

int proc9_fd(int context, int number, int mine) {
    return proc9_tell(context, "fd %d self:%d\n", number, mine);
}

static void add_line(struct text* text, const char* command, char* const words[]) {
    text_add(text, command);
    for (; *words; ++words) text_word(text, *words);
    text_add(text, "\n");
}

int proc9_exec(int context, const char* path, char* const argv[], char* const envp[]) {
    struct text text = {0};
    if (envp) {
        text_add(&text, "clearenv\n");
        for (char* const* variable = envp; *variable; ++variable) {
            char* const words[] = {*variable, NULL};
            add_line(&text, "env", words);
        }
    }
    add_line(&text, "args", argv);
    text_add(&text, "exec");
    text_word(&text, path);
    text_add(&text, "\n");
    return text_send(&text, context);
}

int proc9_eexec(int context) { return proc9_tell(context, "entry\n"); }

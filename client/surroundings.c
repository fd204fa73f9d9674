#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/proc9.h"
#include "client/text.h"

int proc9_fd(int context, int number, int mine) {
    return proc9_tell(context, "fd %d self:%d\n", number, mine);
}

int proc9_fd_open(int context, int number, const char* path, const char* mode) {
    char digits[16];
    snprintf(digits, sizeof digits, "%d", number);
    return proc9_set(context, (const char* const[]){"fd", digits, "open", path, mode, NULL});
}

int proc9_fd_close(int context, int number) { return proc9_tell(context, "fd %d close\n", number); }

int proc9_env(int context, const char* name, const char* value) {
    char* variable = NULL;
    if (strchr(name, '=')) {
        errno = EINVAL;
        return -1;
    }
    if (!value) return proc9_set(context, (const char* const[]){"unset", name, NULL});
    if (asprintf(&variable, "%s=%s", name, value) < 0) return -1;
    const int outcome = proc9_set(context, (const char* const[]){"env", variable, NULL});
    const int problem = errno;
    free(variable);
    errno = problem;
    return outcome;
}

/* /proc/PID/environ is what the program was started with; environ is what it has made of it. */
int proc9_inherit(int context) {
    struct text text = {0};
    text_add(&text, "inherit fd\ninherit cwd\ninherit settings\n");
    text_environment(&text, environ);
    return text_send(&text, context);
}

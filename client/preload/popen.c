/* popen(3). Its streams are the C library's; which process is at the other end of each is kept here. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/preload/libc.h"
#include "client/preload/shell.h"

struct command {
    FILE* stream;
    pid_t shell;
    struct command* next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct command* commands;
static atomic_int count; /* of them, to be looked at without the lock */

struct mode {
    int reads;
    int writes;
    int closes_on_exec;
};

static int parse(const char* text, struct mode* mode) {
    *mode = (struct mode){0};
    for (; *text; ++text) {
        if (*text == 'r') {
            mode->reads = 1;
        } else if (*text == 'w') {
            mode->writes = 1;
        } else if (*text == 'e') {
            mode->closes_on_exec = 1;
        } else {
            return EINVAL;
        }
    }
    return mode->reads == mode->writes ? EINVAL : 0;
}

/* The streams of earlier commands are not the new one's. */
static int close_others(posix_spawn_file_actions_t* actions, int used) {
    int problem = 0;
    for (const struct command* other = commands; other && !problem; other = other->next) {
        const int fd = fileno(other->stream);
        if (fd != used) problem = posix_spawn_file_actions_addclose(actions, fd);
    }
    return problem;
}

/* With the lock held. */
static int start(struct command* command, const char* text, int end, int number) {
    posix_spawn_file_actions_t actions;
    int was_made = 0;
    posix_spawn_file_actions_init(&actions);
    int problem = posix_spawn_file_actions_adddup2(&actions, end, number);
    if (!problem) problem = close_others(&actions, number);
    if (!problem) problem = spawn_shell(&command->shell, text, &actions, NULL, &was_made);
    posix_spawn_file_actions_destroy(&actions);
    if (problem) return problem;
    command->next = commands;
    commands = command;
    atomic_fetch_add(&count, 1);
    return 0;
}

/* 0 or errno. Owns neither end. */
static int connect_command(struct command* command, const char* text, const struct mode* mode,
                           const int ends[2]) {
    const int mine = ends[mode->writes];
    command->stream = fdopen(mine, mode->reads ? "r" : "w");
    if (!command->stream) return errno;
    pthread_mutex_lock(&lock);
    const int problem = start(command, text, ends[mode->reads], mode->reads);
    pthread_mutex_unlock(&lock);
    if (!problem && !mode->closes_on_exec) fcntl(mine, F_SETFD, 0);
    return problem;
}

static FILE* fail(int problem) {
    errno = problem;
    return NULL;
}

FILE* popen(const char* text, const char* modes) {
    struct mode mode;
    int ends[2];
    int problem = parse(modes, &mode);
    struct command* const command = problem ? NULL : calloc(1, sizeof *command);
    if (!command) return fail(problem ? problem : errno);
    if (pipe2(ends, O_CLOEXEC) < 0) problem = errno;
    if (problem) {
        free(command);
        return fail(problem);
    }
    problem = connect_command(command, text, &mode, ends);
    close(ends[mode.reads]);
    if (!problem) return command->stream;
    if (command->stream) {
        LIBC(fclose)(command->stream);
    } else {
        close(ends[mode.writes]);
    }
    free(command);
    return fail(problem);
}

/* The shell of a stream that is closed now; 0: it is not one of ours. */
static pid_t forget(const FILE* stream) {
    pid_t shell = 0;
    pthread_mutex_lock(&lock);
    struct command** at = &commands;
    while (*at && (*at)->stream != stream) at = &(*at)->next;
    if (*at) {
        struct command* const found = *at;
        shell = found->shell;
        *at = found->next;
        free(found);
        atomic_fetch_sub(&count, 1);
    }
    pthread_mutex_unlock(&lock);
    return shell;
}

static int close_and_wait(FILE* stream, pid_t shell) {
    int status = -1;
    pid_t got;
    LIBC(fclose)(stream);
    do got = waitpid(shell, &status, 0);
    while (got < 0 && errno == EINTR);
    return got < 0 ? -1 : status;
}

int pclose(FILE* stream) {
    const pid_t shell = forget(stream);
    return shell ? close_and_wait(stream, shell) : LIBC(pclose)(stream);
}

/* The C library waits for the command here as well. */
int fclose(FILE* stream) {
    static __typeof__(&fclose) close_stream;
    const pid_t shell = atomic_load(&count) > 0 ? forget(stream) : 0;
    if (shell) return close_and_wait(stream, shell);
    if (!close_stream) close_stream = LIBC(fclose);
    return close_stream(stream);
}

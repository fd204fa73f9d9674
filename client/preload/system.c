/* system(3) */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/preload/shell.h"

/* What SIGINT and SIGQUIT did before the first of the calls that are under way. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int under_way;
static struct sigaction interrupt_before;
static struct sigaction quit_before;

static void ignore_keys(void) {
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    pthread_mutex_lock(&lock);
    if (under_way++ == 0) {
        sigaction(SIGINT, &ignore, &interrupt_before);
        sigaction(SIGQUIT, &ignore, &quit_before);
    }
    pthread_mutex_unlock(&lock);
}

static void heed_keys(void) {
    pthread_mutex_lock(&lock);
    if (--under_way == 0) {
        sigaction(SIGINT, &interrupt_before, NULL);
        sigaction(SIGQUIT, &quit_before, NULL);
    }
    pthread_mutex_unlock(&lock);
}

/* The shell has these signals as the caller had them. */
static void set_signals(posix_spawnattr_t* attributes, const sigset_t* mask) {
    sigset_t reset;
    sigemptyset(&reset);
    if (interrupt_before.sa_handler != SIG_IGN) sigaddset(&reset, SIGINT);
    if (quit_before.sa_handler != SIG_IGN) sigaddset(&reset, SIGQUIT);
    posix_spawnattr_setsigmask(attributes, mask);
    posix_spawnattr_setsigdefault(attributes, &reset);
    posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
}

/* Of one call, for its way out: by the end of the shell, or by cancellation. */
struct call {
    pid_t shell;
    sigset_t mask;
};

static int wait_for(pid_t shell) {
    int status = -1;
    pid_t got;
    do got = waitpid(shell, &status, 0);
    while (got < 0 && errno == EINTR);
    return got == shell ? status : -1;
}

static void restore(const struct call* call) {
    const int problem = errno;
    heed_keys();
    pthread_sigmask(SIG_SETMASK, &call->mask, NULL);
    errno = problem;
}

static void on_cancel(void* place) {
    const struct call* const call = place;
    kill(call->shell, SIGKILL);
    wait_for(call->shell);
    restore(call);
}

static int run(const char* command) {
    struct call call;
    sigset_t child_ends;
    posix_spawnattr_t attributes;
    int status = -1;
    int was_made = 0;
    sigemptyset(&child_ends);
    sigaddset(&child_ends, SIGCHLD);
    ignore_keys();
    pthread_sigmask(SIG_BLOCK, &child_ends, &call.mask);
    posix_spawnattr_init(&attributes);
    set_signals(&attributes, &call.mask);
    const int problem = spawn_shell(&call.shell, command, NULL, &attributes, &was_made);
    posix_spawnattr_destroy(&attributes);
    if (problem && was_made) status = W_EXITCODE(127, 0); /* as a shell that could not be started */
    if (!problem) {
        pthread_cleanup_push(on_cancel, &call);
        status = wait_for(call.shell);
        pthread_cleanup_pop(0);
    }
    restore(&call);
    if (problem) errno = problem;
    return status;
}

int system(const char* command) { return command ? run(command) : run("exit 0") == 0; }

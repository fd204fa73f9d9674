/* posix_spawn(3) and its kin. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "client/preload/actions.h"
#include "client/preload/attributes.h"
#include "client/preload/child.h"
#include "client/preload/fallback.h"
#include "client/preload/libc.h"
#include "client/preload/perform.h"
#include "client/preload/shell.h"

/* What shall be spawned, as the caller said it. */
struct order {
    const char* file;
    const posix_spawn_file_actions_t* actions;
    const posix_spawnattr_t* attributes;
    char* const* argv;
    char* const* envp;
};

/* ----------------------------------------------------------------------------------------------------------
 * The program */

static int is_variable(const char* word) {
    const char* const sign = strchr(word, '=');
    return sign && sign != word;
}

/* From the last to the first: of two with the same name getenv(3) finds the first. */
static void say_environment(struct child* child, char* const* envp) {
    size_t count = 0;
    while (envp && envp[count]) ++count;
    text_add(&child->said, "clearenv\n");
    while (count-- > 0) {
        if (is_variable(envp[count]))
            text_line(&child->said, "env", (const char* const[]){envp[count], NULL});
    }
}

/* As execve(2), which makes one empty word of none. */
static void say_arguments(struct child* child, char* const* argv) {
    static const char* const nothing[] = {"", NULL};
    text_line(&child->said, "args", argv && *argv ? (const char* const*)argv : nothing);
}

/* Of a name without / the daemon would search the child's own PATH. */
static int execute(struct child* child, const struct order* order, const char* path) {
    const int is_bare = !strchr(path, '/') || strncmp(path, "fd:", 3) == 0;
    char* word = NULL;
    if (asprintf(&word, "%s%s", is_bare ? "./" : "", path) < 0) return ENOMEM;
    actions_offer(child, actions_of(order->actions), path);
    text_line(&child->said, "exec", (const char* const[]){word, NULL});
    free(word);
    return child_send(child);
}

static int goes_on_after(int problem) {
    static const int problems[] = {EACCES, ENOENT, ENOTDIR, ESTALE, ENODEV, ETIMEDOUT};
    for (size_t i = 0; i < sizeof problems / sizeof *problems; ++i) {
        if (problems[i] == problem) return 1;
    }
    return 0;
}

/* Seen from here, which spares the child a try. */
static int is_missing(const char* path) {
    return *path == '/' && access(path, F_OK) < 0 && (errno == ENOENT || errno == ENOTDIR);
}

enum { NOT_TRIED = -1 };

static int try_in(struct child* child, const struct order* order, const char* folder,
                  size_t length) {
    char path[2 * PATH_MAX];
    const char* const slash = length ? "/" : "";
    const int size =
        snprintf(path, sizeof path, "%.*s%s%s", (int)length, folder, slash, order->file);
    return size >= (int)sizeof path || is_missing(path) ? NOT_TRIED : execute(child, order, path);
}

/* As execvp(3), by the caller's PATH. */
static int search(struct child* child, const struct order* order) {
    const char* at = getenv("PATH");
    int worst = ENOENT;
    if (!at) at = "/bin:/usr/bin";
    for (const char* end = at; at; at = *end ? end + 1 : NULL) {
        end = at + strcspn(at, ":");
        const int problem = try_in(child, order, at, (size_t)(end - at));
        if (problem == NOT_TRIED) continue;
        if (!child_was_refused(child, "exec ") || !goes_on_after(problem)) return problem;
        if (problem == EACCES) worst = EACCES;
    }
    return child_refuse(child, worst);
}

static int at_path(struct child* child, const struct order* order) {
    return *order->file ? execute(child, order, order->file) : child_refuse(child, ENOENT);
}

static int searched(struct child* child, const struct order* order) {
    if (!*order->file || strchr(order->file, '/')) return at_path(child, order);
    return strlen(order->file) > NAME_MAX ? child_refuse(child, ENAMETOOLONG)
                                          : search(child, order);
}

/* ----------------------------------------------------------------------------------------------------------
 * The child */

/* Neither signals nor cancellation meet the caller while a child is made. */
struct calm {
    sigset_t mask;
    int cancel_state;
};

static void calm_begin(struct calm* calm) {
    sigset_t all;
    sigfillset(&all);
    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &calm->cancel_state);
    pthread_sigmask(SIG_BLOCK, &all, &calm->mask);
}

static void calm_end(const struct calm* calm) {
    pthread_sigmask(SIG_SETMASK, &calm->mask, NULL);
    pthread_setcancelstate(calm->cancel_state, NULL);
}

/* A process may have descriptors beyond its limit, if that was higher before. */
static void say_limit(struct child* child) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
    child_try(child, "limit NOFILE %lu:%lu\n", (unsigned long)limit.rlim_max,
              (unsigned long)limit.rlim_max);
}

/* In the order of the C library, but for the signals: it blocks them all until the actions are done. */
static int furnish(struct child* child, const struct order* order, const sigset_t* mask) {
    say_environment(child, order->envp);
    say_arguments(child, order->argv);
    inherit_all(&child->said);
    int problem = attributes_say(child, order->attributes);
    if (!problem) problem = actions_perform(child, actions_of(order->actions), order->attributes);
    signals_say(child, order->attributes, mask);
    return problem;
}

/* One of the functions of this file. */
struct way {
    int (*run)(struct child* child, const struct order* order);
    const char* name;
    int answers_pidfd;
};

static int bear(struct child* child, const struct order* order, const struct way* way,
                const sigset_t* mask) {
    int problem = way->answers_pidfd ? child_send(child) : 0; /* later it may have gone */
    if (!problem) problem = furnish(child, order, mask);
    if (!problem) problem = way->run(child, order);
    if (!problem && child_fell(child)) problem = ESRCH;
    if (problem) child_end(child);
    return problem;
}

static int answer(struct child* child, const struct way* way, int* result) {
    if (result) *result = way->answers_pidfd ? child->pidfd : child->pid;
    if (way->answers_pidfd) child->pidfd = -1;
    child_release(child);
    return 0;
}

/* As long as it is not started, a child ends with the thread that was the first to make one: then another is made.
 * Another, too, where its limit was in the way of the caller's descriptors. */
static int may_go_otherwise(const struct child* child, int problem, int* raises_limit) {
    if (child_was_not_begun(child, problem) || problem == ESRCH) return 1;
    return problem == EBADF && child_was_refused(child, "inherit") && !(*raises_limit)++;
}

static int make(struct child* child, const struct order* order, const struct way* way,
                const sigset_t* mask, int* was_made) {
    int raises_limit = 0;
    int problem = ESRCH;
    for (int tries = 10; tries > 0; --tries) {
        problem = child_begin(child);
        if (!problem && raises_limit) say_limit(child);
        if (!problem) problem = bear(child, order, way, mask);
        *was_made = child->pid > 0;
        if (!may_go_otherwise(child, problem, &raises_limit)) break;
    }
    return problem;
}

static int spawn(const struct way* way, int* result, const struct order* order, int* was_made) {
    struct child child;
    struct calm calm;
    calm_begin(&calm);
    const int problem = make(&child, order, way, &calm.mask, was_made);
    if (!problem) answer(&child, way, result);
    calm_end(&calm);
    if (*was_made || !may_fall_back()) return problem;
    *was_made = 1;
    return spawn_by_libc(way->name, result, order->file, actions_of(order->actions),
                         order->attributes, order->argv, order->envp);
}

/* ----------------------------------------------------------------------------------------------------------
 * The functions */

#define SPAWN(name, result_type, run, answers_pidfd)                                               \
    int name(result_type* restrict result, const char* restrict file,                              \
             const posix_spawn_file_actions_t* restrict actions,                                   \
             const posix_spawnattr_t* restrict attributes, char* const argv[restrict],             \
             char* const envp[restrict]) {                                                         \
        static const struct way way = {run, #name, answers_pidfd};                                 \
        const struct order order = {file, actions, attributes, argv, envp};                        \
        int was_made = 0;                                                                          \
        return spawn(&way, result, &order, &was_made);                                             \
    }

SPAWN(posix_spawn, pid_t, at_path, 0)
SPAWN(posix_spawnp, pid_t, searched, 0)
#if __GLIBC_PREREQ(2, 39)
SPAWN(pidfd_spawn, int, at_path, 1)
SPAWN(pidfd_spawnp, int, searched, 1)
#endif

int spawn_shell(pid_t* shell, const char* command, const posix_spawn_file_actions_t* actions,
                const posix_spawnattr_t* attributes, int* was_made) {
    static const struct way way = {at_path, "posix_spawn", 0};
    char* const words[] = {(char[]){"sh"}, (char[]){"-c"}, (char*)command, NULL};
    const struct order order = {"/bin/sh", actions, attributes, words, environ};
    return spawn(&way, shell, &order, was_made);
}

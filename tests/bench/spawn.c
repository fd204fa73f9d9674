/* A child that runs a program and is waited for: by way of proc9, and of what people would take instead. */
#include <dlfcn.h>
#include <limits.h>
#include <linux/sched.h>
#include <sched.h>
#include <spawn.h>
#include <sys/syscall.h>

#include "tests/bench/bench.h"

typedef int spawn_function(pid_t*, const char*, const posix_spawn_file_actions_t*,
                           const posix_spawnattr_t*, char* const[], char* const[]);

/* Not what may have been loaded before it. */
static pid_t libc_spawn(void) {
    static spawn_function* function;
    pid_t child = -1;
    if (!function) *(void**)&function = dlsym(dlopen("libc.so.6", RTLD_LAZY), "posix_spawn");
    return function(&child, program, NULL, NULL, program_words, program_variables) == 0 ? child
                                                                                        : -1;
}

static pid_t loaded_spawn(void) {
    pid_t child = -1;
    const int problem = posix_spawn(&child, program, NULL, NULL, program_words, program_variables);
    errno = problem;
    return problem == 0 ? child : -1;
}

static void become_program(void) __attribute__((noreturn));
static void become_program(void) {
    execve(program, program_words, program_variables);
    _exit(127);
}

static pid_t fork_exec(void) {
    const pid_t child = fork();
    if (child == 0) become_program();
    return child;
}

static pid_t vfork_exec(void) {
    const pid_t child = vfork();
    if (child == 0) become_program();
    return child;
}

static int become_on_stack(void* unused) {
    (void)unused;
    become_program();
}

static pid_t clone_exec(void) {
    static _Alignas(64) char stack[64 << 10];
    return clone(become_on_stack, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
}

static pid_t proc9_in_one(void) {
    return proc9_spawn(NULL, program, program_words, program_variables);
}

static pid_t proc9_in_two(void) {
    const int context = proc9_efork();
    if (context < 0) return -1;
    const pid_t child = proc9_pid(context);
    const int outcome = proc9_exec(context, program, program_words, program_variables);
    close(context);
    return outcome < 0 ? -1 : child;
}

/* Nothing but files, the ctl open already: a child of the daemon, waited for in its directory. */
static double by_files(void) {
    static int ctl = -1;
    static char text[PATH_MAX + 64];
    char name[PATH_MAX + 64];
    char answer[256];
    if (ctl < 0) {
        snprintf(name, sizeof name, "%s/ctl", getenv("PROC9"));
        ctl = open(name, O_RDWR | O_CLOEXEC);
        snprintf(text, sizeof text, "efork\nenv A=1\nargs nothing\nexec %s\n", program);
    }
    const double before = now_us();
    must(write(ctl, text, strlen(text)) == (ssize_t)strlen(text), "ctl");
    const ssize_t length = pread(ctl, answer, sizeof answer - 1, 0);
    must(length > 0, "ctl");
    answer[length] = '\0';
    snprintf(name, sizeof name, "%s/%d/wait", getenv("PROC9"), atoi(answer));
    const int file = open(name, O_RDONLY | O_CLOEXEC);
    must(file >= 0 && read(file, answer, sizeof answer) > 0, "wait");
    close(file);
    return now_us() - before;
}

double by_posix_spawn(void) { return until_waited(libc_spawn); }
double by_proc9_spawn(void) { return until_waited(proc9_in_one); }
static double by_fork(void) { return until_waited(fork_exec); }
static double by_vfork(void) { return until_waited(vfork_exec); }
static double by_clone(void) { return until_waited(clone_exec); }
static double by_two_steps(void) { return until_waited(proc9_in_two); }
static double by_preload(void) { return until_waited(loaded_spawn); }

/* [MIB] of touched memory in the caller. */
void bench_spawn(int rounds, char** words) {
    static const struct way ways[] = {{"posix_spawn", by_posix_spawn},
                                      {"vfork+exec", by_vfork},
                                      {"clone(VM|VFORK)+exec", by_clone},
                                      {"fork+exec", by_fork},
                                      {"proc9_spawn", by_proc9_spawn},
                                      {"proc9_efork+proc9_exec", by_two_steps},
                                      {"files", by_files}};
    static const struct way preloaded[] = {{"posix_spawn", by_posix_spawn},
                                           {"preloaded posix_spawn", by_preload}};
    char group[64];
    if (mib_of(words[0])) touched(mib_of(words[0]));
    const int is_preloaded = getenv("LD_PRELOAD") != NULL;
    snprintf(group, sizeof group, "%s %s MiB", is_preloaded ? "preload" : "spawn",
             words[0] ? words[0] : "0");
    if (is_preloaded) MEASURE(group, preloaded, rounds);
    if (!is_preloaded) MEASURE(group, ways, rounds);
}

/* Children that are started and waited for, a second: of CLIENTS processes at once, for a while each. */
static double rate(int clients, double (*once)(void)) {
    const double length = 200000;
    int ends[2];
    must(pipe(ends) == 0, "pipe");
    const double start = now_us();
    for (int i = 0; i < clients; ++i) {
        const pid_t client = fork();
        if (client != 0) continue;
        int count = 0;
        for (; now_us() - start < length; ++count) once();
        _exit(write(ends[1], &count, sizeof count) != sizeof count);
    }
    int total = 0;
    for (int i = 0; i < clients; ++i) {
        int count = 0;
        must(read(ends[0], &count, sizeof count) == sizeof count, "client");
        must(wait(NULL) > 0, "wait");
        total += count;
    }
    close(ends[0]);
    close(ends[1]);
    return total * 1e6 / (now_us() - start);
}

static int clients;
static double rate_of_posix_spawn(void) { return rate(clients, by_posix_spawn); }
static double rate_of_proc9_spawn(void) { return rate(clients, by_proc9_spawn); }

/* CLIENTS */
void bench_throughput(int rounds, char** words) {
    static const struct way ways[] = {{"posix_spawn", rate_of_posix_spawn},
                                      {"proc9_spawn", rate_of_proc9_spawn}};
    char group[64];
    clients = words[0] ? atoi(words[0]) : 1;
    snprintf(group, sizeof group, "throughput %d", clients);
    MEASURE(group, ways, rounds);
}

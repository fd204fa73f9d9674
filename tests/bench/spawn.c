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

static pid_t spawn_with(spawn_function* function, const char* path, char* const words[]) {
    pid_t child = -1;
    errno = function(&child, path, NULL, NULL, words, program_variables);
    return errno == 0 ? child : -1;
}

pid_t spawn_plainly(const char* path, char* const words[]) {
    static spawn_function* function;
    if (!function) *(void**)&function = dlsym(dlopen("libc.so.6", RTLD_LAZY), "posix_spawn");
    return spawn_with(function, path, words);
}

static pid_t libc_spawn(void) { return spawn_plainly(program, program_words); }
static pid_t loaded_spawn(void) { return spawn_with(posix_spawn, program, program_words); }

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

/* The child is on a stack of its own and must not return. */
static pid_t clone3_exec(void) {
    static _Alignas(64) char stack[64 << 10];
    const struct clone_args arguments = {.flags = CLONE_VM | CLONE_VFORK,
                                         .exit_signal = SIGCHLD,
                                         .stack = (uintptr_t)stack,
                                         .stack_size = sizeof stack};
    long child = SYS_clone3;
    __asm__ volatile("syscall\n\ttest %%rax, %%rax\n\tjnz 1f\n\tcall *%[go]\n1:"
                     : "+a"(child)
                     : "D"(&arguments), "S"(sizeof arguments), [go] "r"(become_program)
                     : "rcx", "r11", "memory");
    return (pid_t)child;
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
static double by_clone3(void) { return until_waited(clone3_exec); }
static double by_two_steps(void) { return until_waited(proc9_in_two); }
static double by_preload(void) { return until_waited(loaded_spawn); }

static const struct way spawns[] = {{"posix_spawn", by_posix_spawn},
                                    {"vfork+exec", by_vfork},
                                    {"clone3(VM, VFORK)+exec", by_clone3},
                                    {"fork+exec", by_fork},
                                    {"proc9_spawn", by_proc9_spawn},
                                    {"proc9_efork+proc9_exec", by_two_steps},
                                    {"files", by_files}};
static const struct way preloaded[] = {{"posix_spawn", by_posix_spawn},
                                       {"preloaded posix_spawn", by_preload}};

/* MIB of touched memory in the parent... */
void bench_spawn(int rounds, char** words) {
    if (getenv("LD_PRELOAD"))
        measure_sizes("preload", preloaded, COUNT_OF(preloaded), words, touch, rounds);
    else
        measure_sizes("spawn", spawns, COUNT_OF(spawns), words, touch, rounds);
}

/* ---- Throughput ---- */

/* Children that are started and waited for, a second. */
static double rate(double (*once)(void)) {
    const double length = (double)scaled(200000, 5000);
    const double start = now_us();
    int count = 0;
    for (; now_us() - start < length; ++count) once();
    return count * 1e6 / (now_us() - start);
}

static double rate_of_posix_spawn(void) { return rate(by_posix_spawn); }
static double rate_of_proc9_spawn(void) { return rate(by_proc9_spawn); }

/* CLIENTS... at once, processes of their own */
void bench_throughput(int rounds, char** words) {
    static const struct way ways[] = {{"posix_spawn", rate_of_posix_spawn},
                                      {"proc9_spawn", rate_of_proc9_spawn}};
    struct group groups[MOST_GROUPS] = {0};
    size_t count = 0;
    for (; words[count] && count < MOST_GROUPS; ++count) {
        struct group* const group = &groups[count];
        *group = (struct group)GROUP("", ways);
        snprintf(group->name, sizeof group->name, "throughput %s", words[count]);
        group->helper_count = (size_t)atoi(words[count]);
        must(group->helper_count <= MOST_HELPERS, group->name);
        for (size_t i = 0; i < group->helper_count; ++i) group->helpers[i] = helper(touch, 0);
    }
    measure(groups, count, rounds);
}

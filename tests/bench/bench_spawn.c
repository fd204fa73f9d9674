/* What a child costs that runs a program and is waited for, by way of proc9 and of what people would take instead:
 * all in turns in one run.
 *
 *     PROC9=/proc9 build/dev/client/bench_spawn [ROUNDS [MIB...]]       (201 rounds; a parent of 0, 64, 1024 MiB)
 *
 * The program is the smallest there is (nothing.S). The parent's memory is touched, in pages of 4 KiB. Medians in
 * microseconds, and how often posix_spawn's that is.
 */
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/proc9.h"

enum { MOST_ROUNDS = 2000 };

static char program[PATH_MAX];
static char* const words[] = {"nothing", NULL};
static char* const variables[] = {"A=1", NULL};

static pid_t by_posix_spawn(void) {
    pid_t child = -1;
    return posix_spawn(&child, program, NULL, NULL, words, variables) == 0 ? child : -1;
}

static pid_t by_fork(void) {
    const pid_t child = fork();
    if (child == 0) {
        execve(program, words, variables);
        _exit(127);
    }
    return child;
}

static pid_t by_vfork(void) {
    const pid_t child = vfork();
    if (child == 0) {
        execve(program, words, variables);
        _exit(127);
    }
    return child;
}

static pid_t by_proc9(void) {
    const int context = proc9_efork();
    if (context < 0) return -1;
    const pid_t child = proc9_pid(context);
    const int outcome = proc9_exec(context, program, words, variables);
    close(context);
    return outcome < 0 ? -1 : child;
}

static pid_t by_proc9_spawn(void) { return proc9_spawn(NULL, program, words, variables); }

static const struct peer {
    const char* name;
    pid_t (*start)(void);
} peers[] = {{"posix_spawn", by_posix_spawn},
             {"vfork+exec", by_vfork},
             {"fork+exec", by_fork},
             {"efork+exec", by_proc9},
             {"proc9_spawn", by_proc9_spawn}};
enum { PEERS = sizeof peers / sizeof *peers };

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static double measure(const struct peer* peer) {
    int status = -1;
    const double start = now();
    const pid_t child = peer->start();
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0) {
        perror(peer->name);
        exit(EXIT_FAILURE);
    }
    return now() - start;
}

static int compare(const void* a, const void* b) {
    const double x = *(const double*)a;
    const double y = *(const double*)b;
    return (x > y) - (x < y);
}

static void compare_at(size_t mib, int rounds) {
    static double times[PEERS][MOST_ROUNDS];
    const size_t size = mib << 20;
    char* const memory =
        mmap(NULL, size + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        perror("mmap");
        exit(EXIT_FAILURE);
    }
    madvise(memory, size, MADV_NOHUGEPAGE);
    memset(memory, 1, size);
    for (int round = -3; round < rounds; ++round) {
        for (int i = 0; i < PEERS; ++i) {
            const double time = measure(&peers[i]);
            if (round >= 0) times[i][round] = time;
        }
    }
    for (int i = 0; i < PEERS; ++i) qsort(times[i], (size_t)rounds, sizeof(double), compare);
    for (int i = 0; i < PEERS; ++i)
        printf("%8zu  %-12s %10.0f %10.0f %10.0f %8.2f\n", mib, peers[i].name, times[i][rounds / 4],
               times[i][rounds / 2], times[i][rounds * 3 / 4],
               times[i][rounds / 2] / times[0][rounds / 2]);
    munmap(memory, size + 4096);
}

int main(int count, char** arguments) {
    const int rounds = count > 1 ? atoi(arguments[1]) : 201;
    const ssize_t length = readlink("/proc/self/exe", program, sizeof program - sizeof "nothing");
    if (rounds < 1 || rounds > MOST_ROUNDS || length < 0) {
        fprintf(stderr, "usage: %s [ROUNDS [MIB...]]\n", arguments[0]);
        return EXIT_FAILURE;
    }
    program[length] = '\0';
    strcpy(strrchr(program, '/') + 1, "nothing");
    printf("%8s  %-12s %10s %10s %10s %8s\n", "MiB", "", "quarter", "median us", "quarter",
           "ratio");
    const size_t sizes[] = {0, 64, 1024};
    for (int i = 0; count <= 2 && i < 3; ++i) compare_at(sizes[i], rounds);
    for (int i = 2; i < count; ++i) compare_at((size_t)atoi(arguments[i]), rounds);
    return 0;
}

/* What fork() of the library costs beside fork(2), in one run, alternating.
 *
 *     PROC9=/proc9 build/dev/client/bench_fork [ROUNDS [MIB...]]      (21 rounds of 1, 64 and 1024 MiB)
 *
 * `call`: until fork returns in the parent. `whole`: until the child, which ends at once, was waited for.
 * Medians in microseconds, and the ratio of the medians. The memory is touched, in pages of 4 KiB.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "client/proc9.h"

enum { MOST_ROUNDS = 1000 };

struct times {
    double call[MOST_ROUNDS];
    double whole[MOST_ROUNDS];
};

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static void measure(pid_t (*make)(void), struct times* times, int round) {
    const double start = now();
    const pid_t child = make();
    if (child == 0) _exit(0);
    times->call[round] = now() - start;
    if (child < 0 || waitpid(child, NULL, 0) != child) {
        perror("fork");
        exit(EXIT_FAILURE);
    }
    times->whole[round] = now() - start;
}

static int compare(const void* a, const void* b) {
    const double x = *(const double*)a;
    const double y = *(const double*)b;
    return (x > y) - (x < y);
}

static double median(double* values, int count) {
    qsort(values, (size_t)count, sizeof *values, compare);
    return values[count / 2];
}

static void print(const char* what, size_t mib, double* libc, double* ours, int rounds) {
    const double one = median(libc, rounds);
    const double other = median(ours, rounds);
    printf("%8zu  %-6s %12.0f %12.0f %8.2f\n", mib, what, one, other, other / one);
}

static void compare_at(size_t mib, int rounds) {
    static struct times libc;
    static struct times ours;
    const size_t size = mib << 20;
    char* const memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        perror("mmap");
        exit(EXIT_FAILURE);
    }
    madvise(memory, size, MADV_NOHUGEPAGE);
    memset(memory, 1, size);
    measure(fork, &libc, 0); /* once to warm up */
    measure(proc9_fork, &ours, 0);
    for (int round = 0; round < rounds; ++round) {
        measure(fork, &libc, round);
        measure(proc9_fork, &ours, round);
    }
    print("call", mib, libc.call, ours.call, rounds);
    print("whole", mib, libc.whole, ours.whole, rounds);
    munmap(memory, size);
}

int main(int count, char** words) {
    const int rounds = count > 1 ? atoi(words[1]) : 21;
    if (rounds < 1 || rounds > MOST_ROUNDS) {
        fprintf(stderr, "usage: %s [ROUNDS [MIB...]]\n", words[0]);
        return EXIT_FAILURE;
    }
    printf("%8s  %-6s %12s %12s %8s\n", "MiB", "", "fork(2) us", "proc9 us", "ratio");
    if (count <= 2) {
        compare_at(1, rounds);
        compare_at(64, rounds);
        compare_at(1024, rounds);
    }
    for (int i = 2; i < count; ++i) compare_at((size_t)atoi(words[i]), rounds);
    return 0;
}

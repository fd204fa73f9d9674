/* What the programs of this folder check with: the first failure ends the process with 99. */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: %s, errno %d\n", __func__, __LINE__, #condition, errno);       \
            _exit(99);                                                                             \
        }                                                                                          \
    } while (0)

static inline void must_exit(pid_t child, int code) {
    int status = -1;
    CHECK(child > 0);
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == code);
}

static inline int open_descriptors(void) {
    int count = 0;
    for (int fd = 0; fd < 1024; ++fd) count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

struct test_case {
    const char* name;
    void (*run)(void);
};
#define CASE(name) {#name, name}

/* Without an argument prints the names; with one runs that case. */
static inline int run_case(const struct test_case* cases, size_t count, const char* wanted) {
    for (size_t i = 0; i < count; ++i) {
        if (!wanted) {
            puts(cases[i].name);
        } else if (strcmp(wanted, cases[i].name) == 0) {
            cases[i].run();
            return 0;
        }
    }
    return wanted ? 98 : 0;
}
